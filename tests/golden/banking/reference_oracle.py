"""Plain-Python oracle of the banking pack (own code; not distributed; for tests only): integers and Decimal, row by row.

input/ -> expected/, as_of 2024-03-31, policy: the defaults of design/BANKING.md, but max_bad_ratio and max_unbalanced_ratio = 1.
`python reference_oracle.py [as_of] [input] [expected]`; the order of files in folders and of rows with different ids is of no matter."""
import csv, datetime as dt, re, sys
from collections import defaultdict
from decimal import Decimal as D
from math import isqrt
from pathlib import Path

HERE = Path(__file__).parent
AS_OF = dt.date.fromisoformat(sys.argv[1]) if len(sys.argv) > 1 else dt.date(2024, 3, 31)
IN, OUT = (Path(sys.argv[i]) if len(sys.argv) > i else HERE / name for i, name in ((2, "input"), (3, "expected")))
FOREVER, EVER = dt.date(9999, 12, 31), dt.date(1900, 1, 1)
FRAUD, MIN_HISTORY, SIGMAS_PERCENT, FACTOR_PERCENT, HISTORY_MONTHS = 70, 5, 300, 200, 3
WEIGHTS = dict(CONFIRMED=100, AMOUNT_UNUSUAL=35, VELOCITY=35, AMOUNT_HIGH=30, FAILED_THEN_SUCCESS=30, DAILY_COUNT=30, NEW_CITY=20,
               HIGH_RISK_CATEGORY=20, BALANCE_DRAINED=20, NEW_MERCHANT=15, NIGHT=10, ROUND_AMOUNT=5)
RISKY = {"Gambling", "Money Transfer", "Quasi Cash", "Cryptocurrency"}; RISKY_MCC = {"4829", "6051", "7801", "7802", "7995"}
TYPES = "PAYMENT ONLINE_PURCHASE MOBILE_PAYMENT DIRECT_DEBIT CHECK WITHDRAWAL TRANSFER DEBIT FEE DEPOSIT CREDIT REFUND INTEREST".split()
CREDITS, AT_MERCHANT = {"DEPOSIT", "CREDIT", "REFUND", "INTEREST"}, {"PAYMENT", "ONLINE_PURCHASE"}
STATUS = dict(SUCCESS="COMPLETED", APPROVED="COMPLETED", DECLINED="FAILED", REJECTED="FAILED", CANCELED="CANCELLED",
              **{s: s for s in "COMPLETED PENDING FAILED CANCELLED REVERSED".split()})
DEPOSITS, LENDING = {"SAVINGS", "CHECKING", "BUSINESS", "INVESTMENT"}, {"CREDIT", "LOAN"}


def up(a, b=1): return (2 * abs(a) + b) // (2 * b) * (1 if a >= 0 else -1)      # a / b for b > 0, rounded half away from zero
def money(cents): return "" if cents is None else f"{D(cents) / 100:.2f}"
def share(part, whole, scale=10000): return None if whole is None or whole <= 0 else up(part * scale, whole)
def month(day): return day.strftime("%Y-%m")
def before(m, n):                                 # the n months before m
    y, k = map(int, m.split("-")); i = y * 12 + k - 1
    return [f"{(i - j) // 12}-{(i - j) % 12 + 1:02d}" for j in range(1, n + 1)]
def month_end(m): return dt.date.fromisoformat(before_next(m) + "-01") - dt.timedelta(1)
def before_next(m): y, k = map(int, m.split("-")); return f"{y + k // 12}-{k % 12 + 1:02d}"
def key_of(day): return int(day.strftime("%Y%m%d"))


class Bad(Exception): pass
def whole(text, least=None):
    if not re.fullmatch(r"-?0*[0-9]{1,18}", text) or (least is not None and int(text) < least): raise Bad
    return int(text)
def cents(text, least=None):
    if not re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,2}0*)?", text) or (least is not None and D(text) * 100 < least): raise Bad
    return int(D(text) * 100)
def when(text):                                   # -> (moment, time of day is known)
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", text): return dt.datetime.fromisoformat(text), False
        moment = dt.datetime.fromisoformat(text)
    except ValueError: raise Bad
    return (moment.astimezone(dt.timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment), True
def one_of(*values): return lambda text: text.upper() if text.upper() in values else (_ for _ in ()).throw(Bad())
def status(text):
    if text.upper() not in STATUS: raise Bad
    return STATUS[text.upper()]
def flag(text): return {"true": True, "1": True, "false": False, "0": False}[text.lower()] if text.lower() in ("true", "1", "false", "0") else (_ for _ in ()).throw(Bad())
def day(text): return when(text)[0].date()
def text(value): return value
def id_(value): return whole(value, 1)
def some(read): return (read, True)               # may be empty

KINDS = {
    "transactions": dict(transaction_id=text, transaction_time=when, customer_id=id_, transaction_type=one_of(*TYPES), amount=lambda t: cents(t, 1),
        status=status, account_id=some(id_), related_account_id=some(id_), direction=some(one_of("DEBIT", "CREDIT")), currency=some(text), card_type=some(str.upper), posted_date=some(day),
        merchant_id=some(id_), category=some(text), channel_id=some(id_), city_id=some(id_), processing_ms=some(lambda t: whole(t, 0)),
        balance_after=some(cents), is_fraudulent=some(flag)),
    "ledger_entries": dict(entry_id=text, transaction_id=text, account_id=id_, entry_type=one_of("DEBIT", "CREDIT"), amount=lambda t: cents(t, 1), entry_time=when),
    "customers": dict(customer_id=id_, full_name=text, email=some(text), phone=some(text), city_id=some(id_), segment=some(text),
        status=one_of("ACTIVE", "INACTIVE", "SUSPENDED"), registration_date=some(day), credit_score=some(whole), monthly_income=some(cents), updated_at=some(day)),
    "accounts": dict(account_id=id_, customer_id=some(id_), account_type=one_of("CHECKING", "SAVINGS", "BUSINESS", "INVESTMENT", "CREDIT", "LOAN", "INTERNAL"),
        status=one_of("ACTIVE", "INACTIVE", "DORMANT", "FROZEN", "CLOSED"), currency=text, interest_rate=some(cents), opening_date=some(day), balance=cents, updated_at=some(day)),
    "merchants": dict(merchant_id=id_, merchant_name=text, category=text, mcc=some(text)),
    "channels": dict(channel_id=id_, channel_name=text, fee_percent=lambda t: cents(t, 0)),
    "cities": dict(city_id=id_, city_name=text, state=some(text), region=some(text))}
CARRIED = {"credit_score", "monthly_income", "balance", "updated_at", "op"}   # followed, but no reason for a new version


def read(kind, path):
    """-> clean rows, [(line, [broken columns], id or None)], is it a log of changes"""
    with open(path, newline="") as file: rows = list(csv.DictReader(file))
    clean, bad = [], []
    for line, raw in enumerate(rows, 2):
        row, broken = {"op": raw.get("op")}, []
        for name, how in KINDS[kind].items():
            how, empty = how if isinstance(how, tuple) else (how, False)
            value = (raw.get(name) or "").strip()
            try:
                if not value and not empty: raise Bad
                row[name] = how(value) if value else None
            except Bad: broken.append(name)
        if kind == "accounts" and not broken:
            if row["account_type"] != "INTERNAL" and row["balance"] < 0: broken.append("balance")
            if row["account_type"] != "INTERNAL" and row["customer_id"] is None: broken.append("customer_id")
        (bad.append((line, broken, row.get(next(iter(KINDS[kind]))))) if broken else clean.append(row))
    return clean, bad, any(row["op"] for row in clean)


drops, quarantine, counts = defaultdict(list), [], {}
for delivery in sorted(csv.DictReader(open(IN / "deliveries.csv")), key=lambda d: (d["delivered_at"], d["key"])):
    kind = delivery["key"].split("/")[0]
    clean, bad, log = read(kind, IN / delivery["key"])
    drops[kind].append((delivery["key"], clean, bad, log))
    quarantine += [(delivery["key"], line, " ".join(broken)) for line, broken, _ in bad]
    counts[delivery["key"]] = [len(clean) + len(bad), len(clean), len(bad), 0]

# ---- lines: a transaction delivered again replaces the earlier one; of one drop, the last row counts
def live(kind, key):
    last = {}
    for drop, (name, clean, _, _) in enumerate(drops[kind]):
        for row in clean: last[key(row)] = (name, row)
    for name, clean, _, _ in drops[kind]:
        dropped = len(clean) - sum(1 for n, _ in last.values() if n == name)
        counts[name][1] -= dropped; counts[name][3] = dropped
    return [row for _, row in last.values()]
txs = live("transactions", lambda r: (r["customer_id"], month(r["transaction_time"][0]), r["transaction_id"]))
entries = live("ledger_entries", lambda r: (month(r["entry_time"][0]), r["entry_id"]))
for r in txs: r["t"], r["timed"] = r.pop("transaction_time"); r["day"] = r["t"].date(); r["m"] = month(r["day"])
for r in entries: r["day"] = r["entry_time"][0].date()
txs = sorted((r for r in txs if r["day"] <= AS_OF), key=lambda r: (r["customer_id"], r["t"], r["transaction_id"]))
entries = [r for r in entries if r["day"] <= AS_OF]

# ---- dimensions: state after each day -> versions
def versions(kind):
    by_day = defaultdict(list)
    for name, clean, bad, log in drops[kind]:
        taken = dt.date.fromisoformat(re.search(r"\d{4}-\d\d-\d\d", name)[0])
        if taken <= AS_OF: by_day[taken].append((clean, bad, log))
    key, state, open_, out, last = next(iter(KINDS[kind])), {}, {}, [], EVER
    for taken in sorted(by_day):
        for clean, bad, log in by_day[taken]:
            new = {r[key]: r for r in clean}
            if log: new = {i: r for i, r in {**state, **new}.items() if r["op"] != "d"}
            else:                                  # a row in quarantine is not absent
                ids = {i for _, _, i in bad}
                new = {**{i: r for i, r in state.items() if None in ids or i in ids}, **new}
            state = new
        for i in sorted(open_.keys() | state.keys()):
            was, row = open_.get(i), state.get(i)
            same = was and row and all(was[c] == row[c] for c in row if c not in CARRIED)
            if same: was.update({c: row[c] for c in row if c in CARRIED}, last_seen=taken); continue
            start = row.get("updated_at") if row else None
            start = start if start and last < start <= taken and was else taken
            if was: was.update(valid_to=start, end_reason="CHANGED" if row else "DELETED"); out.append(open_.pop(i))
            if row: open_[i] = {**row, "valid_from": start, "last_seen": taken, "valid_to": FOREVER, "end_reason": None}
        last = taken
    out = sorted(out + list(open_.values()), key=lambda v: (v[key], v["valid_from"]))
    for at, v in enumerate(out):
        first, final = at == 0 or out[at - 1][key] != v[key], at + 1 == len(out) or out[at + 1][key] != v[key]
        v["covers_from"], v["covers_to"] = EVER if first else v["valid_from"], FOREVER if final else out[at + 1]["valid_from"]
    return out
DIMS = {kind: versions(kind) for kind in ("customers", "accounts", "merchants", "channels", "cities")}
def at(kind, i, on):                               # the version that a fact of that day belongs to
    return next((v for v in DIMS[kind] if v[next(iter(KINDS[kind]))] == i and v["covers_from"] <= on < v["covers_to"]), None)
def in_force(kind, on): return [v for v in DIMS[kind] if v["valid_from"] <= on < v["valid_to"]]

# ---- fact_transactions
by_customer, facts = defaultdict(list), []
for r in txs:
    r["dir"] = r["direction"] or ("CREDIT" if r["transaction_type"] in CREDITS else "DEBIT")
    r["done"] = r["status"] == "COMPLETED"; by_customer[r["customer_id"]].append(r)
for customer, mine in by_customer.items():
    for n, r in enumerate(mine):
        past, today = mine[:n], [x for x in mine if x["day"] == r["day"]]
        spent = lambda x: x["done"] and x["dir"] == "DEBIT" and not x["is_fraudulent"]
        history = [x for x in mine if x["m"] in before(r["m"], HISTORY_MONTHS) and spent(x)]
        known = history + [x for x in past if x["m"] == r["m"] and spent(x)]
        count, total, squares = len(history), sum(x["amount"] for x in history), sum(x["amount"] ** 2 for x in history)
        limit = (max((total + isqrt(SIGMAS_PERCENT**2 * (count * squares - total**2) // 10000)) // count, total * FACTOR_PERCENT // (count * 100))
                 if count >= MIN_HISTORY else None)
        within = lambda minutes: [x for x in past if r["timed"] and x["timed"] and x["t"] > r["t"] - dt.timedelta(minutes=minutes)]
        velocity = len(within(10)) + 1 if r["timed"] else 0
        failed = sum(x["status"] == "FAILED" for x in within(60))
        sequence = today.index(r) + 1
        shop, hour = at("merchants", r["merchant_id"], r["day"]), r["t"].hour if r["timed"] else None
        category = r["category"] or (shop["category"] if shop else "UNKNOWN")
        debit, habit = r["dir"] == "DEBIT", count >= MIN_HISTORY
        holds = dict(
            CONFIRMED=r["is_fraudulent"], AMOUNT_UNUSUAL=debit and limit is not None and r["amount"] > limit, VELOCITY=velocity >= 5,
            AMOUNT_HIGH=debit and r["amount"] > 500000, FAILED_THEN_SUCCESS=r["done"] and failed >= 2, DAILY_COUNT=sequence > 20,
            NEW_CITY=debit and habit and r["city_id"] is not None and r["city_id"] not in {x["city_id"] for x in known},
            HIGH_RISK_CATEGORY=category in RISKY or bool(shop and shop["mcc"] in RISKY_MCC),
            BALANCE_DRAINED=debit and r["done"] and r["balance_after"] is not None and r["amount"] >= 10000 and 20 * r["balance_after"] <= r["balance_after"] + r["amount"],
            NEW_MERCHANT=debit and habit and r["merchant_id"] is not None and r["merchant_id"] not in {x["merchant_id"] for x in known},
            NIGHT=hour is not None and (hour >= 22 or hour < 6), ROUND_AMOUNT=debit and r["amount"] >= 100000 and r["amount"] % 10000 == 0)
        reasons = [name for name in WEIGHTS if holds[name]]
        score = min(100, sum(WEIGHTS[name] for name in reasons))
        channel = at("channels", r["channel_id"], r["day"]); fee = channel["fee_percent"] if channel else None
        ms = r["processing_ms"]
        r.update(risky=score > FRAUD, revenue=up(r["amount"] * fee, 10000) if r["done"] and fee is not None else 0, score=score,
                 hour=hour, cat=category, merchant=r["merchant_id"] or (-1 if r["transaction_type"] in AT_MERCHANT else -2),
                 channel=r["channel_id"] or -1, city=r["city_id"] or -1,
                 size=next(n for n, top in (("MICRO", 1000), ("SMALL", 10000), ("MEDIUM", 100000), ("LARGE", 1000000), ("VERY_LARGE", 10**30)) if r["amount"] < top),
                 part="UNKNOWN" if hour is None else "MORNING" if 6 <= hour < 12 else "AFTERNOON" if 12 <= hour < 18 else "EVENING" if 18 <= hour < 22 else "NIGHT",
                 delay="unknown" if ms is None else "fast" if ms < 1000 else "medium" if ms < 3000 else "slow")
        facts.append((r["transaction_id"], r["day"], key_of(r["day"]), key_of(r["posted_date"]) if r["posted_date"] else -1, r["t"].isoformat(sep=" ") if r["timed"] else None, customer, r["account_id"] or -1,
            r["related_account_id"] or (-1 if r["transaction_type"] == "TRANSFER" else -2), r["merchant"], r["channel"], r["city"],
            r["transaction_type"], r["dir"], r["status"], r["currency"], r["card_type"], money(r["amount"]), money((1 if r["dir"] == "CREDIT" else -1) * r["amount"] * r["done"]),
            money(fee), money(r["revenue"]), ms, r["delay"], hour, r["size"], r["part"], category, len(today), sequence,
            money(sum(x["amount"] for x in today[:sequence] if x["done"])), velocity, failed, money(limit), f"{D(score) / 100:.2f}", int(r["risky"]), ";".join(reasons),
            None if r["is_fraudulent"] is None else int(r["is_fraudulent"])))


def table(name, columns, rows, sort=True):
    OUT.mkdir(exist_ok=True)
    with open(OUT / f"{name}.csv", "w", newline="") as file:
        w = csv.writer(file, lineterminator="\n"); w.writerow(columns.split())
        w.writerows([["" if v is None else v for v in row] for row in (sorted(rows) if sort else rows)])
def grouped(rows, *keys):
    found = defaultdict(list)
    for r in rows: found[tuple(r[k] for k in keys)].append(r)
    return found
def done(rs): return [r for r in rs if r["done"]]
def total(rs, what="amount"): return sum(r[what] for r in rs)

table("quarantine", "key line columns", quarantine)
table("drops", "key rows_read clean quarantined duplicates", [(k, *v) for k, v in counts.items()])
table("fact_transactions", "transaction_id transaction_date date_key posted_date_key transaction_time customer_key account_key related_account_key merchant_key channel_key city_key "
      "transaction_type direction status currency card_type amount signed_amount fee_percent revenue processing_ms processing_delay_bucket hour amount_category time_of_day category "
      "daily_transaction_count daily_sequence daily_cumulative_amount velocity_count failed_before usual_limit risk_score is_high_risk risk_reasons is_fraudulent", facts)
rows = []
for (customer, on), rs in grouped(txs, "customer_id", "day").items():
    ok = done(rs); amounts = [r["amount"] for r in ok]; n = len(ok)
    rows.append((customer, on, len(rs), n, sum(r["status"] == "FAILED" for r in rs), money(sum(amounts)), money(total([r for r in ok if r["dir"] == "DEBIT"])),
        money(total([r for r in ok if r["dir"] == "CREDIT"])), money(up(sum(amounts), n)) if n else None, money(min(amounts)) if n else None, money(max(amounts)) if n else None,
        len({r["merchant_id"] for r in ok if r["merchant_id"]}), money(total(rs, "revenue")), sum(r["risky"] for r in rs), sum(bool(r["is_fraudulent"]) for r in rs)))
table("daily_customer_summary", "customer_key transaction_date transaction_count completed_count failed_count total_amount debit_amount credit_amount avg_amount min_amount "
      "max_amount unique_merchants revenue high_risk_count fraud_count", rows)
def merchant_row(rs):
    ok = done(rs); n = len(ok)
    return (len(rs), n, sum(r["status"] == "FAILED" for r in rs), money(total(ok)), money(up(total(ok), n)) if n else None, len({r["customer_id"] for r in ok}), money(total(rs, "revenue")), sum(r["risky"] for r in rs))
named = "transaction_count completed_count failed_count total_amount avg_transaction unique_customers revenue high_risk_count"
at_shops = [r for r in txs if r["merchant"] != -2]
table("merchant_daily_summary", f"merchant_key transaction_date {named}", [(*k, *merchant_row(rs)) for k, rs in grouped(at_shops, "merchant", "day").items()])
rows = []
for (m,), rs in grouped(at_shops, "merchant").items():
    days = sorted(r["day"] for r in done(rs)); shop = at("merchants", m, AS_OF)
    rows.append((m, shop["merchant_name"] if shop else "UNKNOWN", shop["category"] if shop else "UNKNOWN", *merchant_row(rs), days[0] if days else None, days[-1] if days else None))
table("merchant_summary", f"merchant_key merchant_name category {named} first_date last_date", rows)
rows = []
for r in txs: person = at("customers", r["customer_id"], r["day"]); r["segment"] = person and person["segment"] or "UNKNOWN"
for (on, channel, city, segment_), rs in grouped(txs, "day", "channel", "city", "segment").items():
    ok, timed = done(rs), [r["processing_ms"] for r in rs if r["processing_ms"] is not None]; failed = sum(r["status"] == "FAILED" for r in rs)
    rows.append((on, channel, city, segment_, len(rs), len(ok), failed, money(share(failed, len(rs))), money(total(ok)), money(total(rs, "revenue")), sum(timed), len(timed),
                 money(up(sum(timed) * 100, len(timed))) if timed else None, *(sum(r["delay"] == d for r in rs) for d in ("fast", "medium", "slow"))))
table("channel_city_kpis", "transaction_date channel_key city_key customer_segment transaction_count completed_count failed_count failure_rate volume revenue processing_ms_total processing_count "
      "avg_processing_ms fast_count medium_count slow_count", rows)
rows = []
for name, of in (("transaction_type", "transaction_type"), ("category", "cat"), ("amount_category", "size"), ("time_of_day", "part"), ("hour", "hour"), ("day_of_week", None)):
    for r in txs: r["label"] = str(r["day"].isoweekday() if of is None else "UNKNOWN" if r[of] is None else f"{r[of]:02d}" if of == "hour" else r[of])
    rows += [(m, name, label, len(rs), len(done(rs)), money(total(done(rs))), money(up(total(done(rs)), len(done(rs)))) if done(rs) else None) for (m, label), rs in grouped(txs, "m", "label").items()]
table("spending_patterns", "month breakdown label transaction_count completed_count volume avg_amount", rows)

# ---- dimensions
first_month = min(r["m"] for r in txs); days, last = [], month_end(month(AS_OF)); on = dt.date.fromisoformat(first_month + "-01")
while on <= last: days.append(on); on += dt.timedelta(1)
table("dim_date", "date_key full_date day month quarter year day_of_week weekday_flag month_name is_month_end", [(key_of(d), d, d.day, d.month, (d.month + 2) // 3, d.year, d.isoweekday(),
      int(d.isoweekday() < 6), month(d), int(month(d + dt.timedelta(1)) != month(d))) for d in days])
def dimension(name, kind, columns, used, blank, special=((-1, "UNKNOWN"),)):
    key = next(iter(KINDS[kind])); rows = []
    def shown(v): return [money(v[c]) if c in ("fee_percent", "balance", "monthly_income", "interest_rate") else v[c] for c in columns]
    for v in DIMS[kind]:
        rows.append((v[key] * 10**8 + key_of(v["valid_from"]), v[key], *shown(v), v["valid_from"], v["valid_to"], int(v["valid_from"] <= AS_OF < v["valid_to"]), v["end_reason"],
                     v["covers_from"], v["covers_to"], v["last_seen"], 0))
    for i in sorted(used - {v[key] for v in DIMS[kind]} - {-1, -2}): rows.append((i * 10**8 + key_of(EVER), i, *blank("UNKNOWN"), EVER, FOREVER, 1, None, EVER, FOREVER, None, 1))
    for i, word in special: rows.append((i, i, *blank(word), EVER, FOREVER, 1, None, EVER, FOREVER, None, 0))
    table(name, f"version_key {key.replace('_id', '_key')} {' '.join(columns)} valid_from valid_to is_current end_reason covers_from covers_to last_seen is_inferred", rows)
dimension("dim_customer", "customers", "full_name email phone city_id segment status registration_date credit_score monthly_income".split(), {r["customer_id"] for r in txs}, lambda w: (w, *[None] * 8))
dimension("dim_account", "accounts", "customer_id account_type status currency interest_rate opening_date balance".split(),
          {i for r in txs for i in (r["account_id"], r["related_account_id"]) if i} | {r["account_id"] for r in entries}, lambda w: (None, w, w, w, None, None, None), ((-1, "UNKNOWN"), (-2, "NOT APPLICABLE")))
dimension("dim_merchant", "merchants", "merchant_name category mcc".split(), {r["merchant"] for r in txs}, lambda w: (w, w, None), ((-1, "UNKNOWN"), (-2, "NOT APPLICABLE")))
dimension("dim_channel", "channels", "channel_name fee_percent".split(), {r["channel"] for r in txs}, lambda w: (w, None))
dimension("dim_city", "cities", "city_name state region".split(), {r["city"] for r in txs}, lambda w: (w, None, None))

# ---- ledger: each transaction balances; each balance follows
known, problems, byt = {r["transaction_id"]: r for r in txs}, [], grouped(entries, "transaction_id")
for i in sorted(known.keys() | {k for (k,) in byt}):
    es, r = byt.get((i,), []), known.get(i)
    debit, credit = total([e for e in es if e["entry_type"] == "DEBIT"]), total([e for e in es if e["entry_type"] == "CREDIT"])
    net = defaultdict(int)
    for e in es: net[e["account_id"]] += e["amount"] * (1 if e["entry_type"] == "CREDIT" else -1)
    found = []
    if es and debit != credit: found.append("ONE_SIDED" if not debit or not credit else "UNBALANCED")
    if es and not r: found.append("NO_TRANSACTION")
    if r and r["done"] and r["account_id"] and not es: found.append("NO_ENTRIES")
    if r and r["done"] and es and net[r["account_id"]] != r["amount"] * (1 if r["dir"] == "CREDIT" else -1): found.append("AMOUNT_DIFFERS")
    if r and not r["done"] and any(net.values()): found.append("NOT_COMPLETED")
    if found: problems.append((i, min(e["day"] for e in es) if es else r["day"], len(es), money(debit), money(credit), money(debit - credit), money(r["amount"]) if r else None, ";".join(found)))
table("ledger_checks", "transaction_id first_date entries debit_amount credit_amount difference transaction_amount problems", problems)
snapshots = defaultdict(dict)                       # account -> {date: reported balance}
for name, clean, bad, log in drops["accounts"]:
    taken = dt.date.fromisoformat(re.search(r"\d{4}-\d\d-\d\d", name)[0])
    for row in (r for r in clean if r["op"] != "d") if taken <= AS_OF else (): snapshots[row["account_id"]][taken] = row["balance"]
rows = []
for account in sorted({e["account_id"] for e in entries} | snapshots.keys()):
    told, mine = snapshots[account], [e for e in entries if e["account_id"] == account]
    version = at("accounts", account, AS_OF); normal = "CREDIT" if not version or version["account_type"] in DEPOSITS else "DEBIT"
    move = lambda low, high: sum(e["amount"] * (1 if e["entry_type"] == normal else -1) for e in mine if low < e["day"] <= high)
    anchor = min(told) if told else None
    balance = lambda on: (told[anchor] + (move(anchor, on) if on >= anchor else -move(on, anchor))) if told else move(EVER, on)
    m = min(month(d) for d in [*told, *(e["day"] for e in mine)])
    gone = version and version["end_reason"] == "DELETED" and version["valid_to"] <= AS_OF     # then only as far as anything happens
    until = max([month(version["valid_to"] - dt.timedelta(1)), *(month(e["day"]) for e in mine)]) if gone else month(AS_OF)
    while m <= until:
        start, end = dt.date.fromisoformat(m + "-01") - dt.timedelta(1), min(month_end(m), AS_OF)
        here = [e for e in mine if start < e["day"] <= end]; on = max((d for d in told if d <= end), default=None)
        gap = told[on] - balance(on) if on else None
        rows.append((account, m, money(balance(start)), money(total([e for e in here if e["entry_type"] == "DEBIT"])), money(total([e for e in here if e["entry_type"] == "CREDIT"])),
                     money(balance(end)), on, money(told[on]) if on else None, money(gap), None if gap is None else int(gap == 0)))
        m = before_next(m)
table("account_balances", "account_key month opening_balance debits credits closing_balance reported_on reported_balance difference is_reconciled", rows)

# ---- customer_metrics
R, F, M = ((7, 5), (30, 4), (60, 3), (90, 2)), ((50, 5), (20, 4), (10, 3), (3, 2)), ((5000000, 5), (1000000, 4), (100000, 3), (10000, 2))
def segment(r, f, m):
    for name, holds in (("Champions", r >= 4 and f >= 4 and m >= 4), ("Loyal Customers", r >= 3 and f >= 3 and m >= 3), ("New Customers", r >= 4 and f <= 2),
                        ("At Risk", r <= 2 and f >= 4), ("Cant Lose Them", r <= 2 and f <= 2 and m >= 4), ("Lost", r <= 2)):
        if holds: return name
    return "Regular"
rows, everybody = [], {v["customer_id"] for v in DIMS["customers"]} | by_customer.keys()
for c in sorted(everybody):
    rs, person = by_customer.get(c, []), at("customers", c, AS_OF); ok = done(rs); spend = [r for r in ok if r["dir"] == "DEBIT"]
    days = sorted(r["day"] for r in ok); recency = (AS_OF - days[-1]).days if days else None; n = len(ok); spent = total(spend)
    r = next((s for top, s in R if recency is not None and recency <= top), 1); f = next((s for least, s in F if n >= least), 1); m = next((s for least, s in M if spent >= least), 1)
    churn = min(100, up(recency * 100, 90)) if days else 100
    accounts = [v for v in in_force("accounts", AS_OF) if v["customer_id"] == c and v["account_type"] != "INTERNAL" and v["status"] != "CLOSED"]
    failed = sum(x["status"] == "FAILED" for x in rs)
    rows.append((c, person["full_name"] if person else "UNKNOWN", days[0] if days else None, days[-1] if days else None, len(rs), n, failed, money(share(failed, len(rs))), money(spent),
        money(total(ok) - spent), money(up(total(ok), n)) if n else None, money(max(x["amount"] for x in ok)) if n else None, len({x["m"] for x in ok}), money(total(rs, "revenue")),
        recency, r, f, m, f"{r}{f}{m}", segment(r, f, m), f"{D(churn) / 100:.2f}", "Low" if churn <= 33 else "Medium" if churn <= 66 else "High", int(churn > 50),
        len(accounts), money(total([a for a in accounts if a["account_type"] in DEPOSITS], "balance")), money(total([a for a in accounts if a["account_type"] in LENDING], "balance")),
        sum(x["risky"] for x in rs)))
table("customer_metrics", "customer_key full_name first_transaction_date last_transaction_date transaction_count completed_count failed_count failure_rate total_spent total_received avg_amount "
      "max_amount active_months lifetime_revenue recency_days r_score f_score m_score rfm_score segment churn_risk churn_category is_at_risk accounts deposits lending high_risk_count", rows)

# ---- monthly_financial_report
rows, revenue_before = [], None; m = first_month
def balance_on(account, on): return snapshots[account][max(d for d in snapshots[account] if d <= on)]
while m <= month(AS_OF):
    end = min(month_end(m), AS_OF); rs = [r for r in txs if r["m"] == m]; ok = done(rs); timed = [r["processing_ms"] for r in rs if r["processing_ms"] is not None]
    people, active = in_force("customers", end), {r["customer_id"] for r in ok}
    held = [dict(v, now=balance_on(v["account_id"], end)) for v in in_force("accounts", end) if v["account_type"] != "INTERNAL"]; accounts = [v for v in held if v["status"] != "CLOSED"]
    all_, by_type = total(accounts, "now"), grouped(accounts, "account_type")
    interest = lambda kinds: sum(up(v["now"] * v["interest_rate"], 120000) for v in accounts if v["account_type"] in kinds and v["interest_rate"])
    fees, earned, paid, lost = total(rs, "revenue"), interest(LENDING), interest(DEPOSITS), total([r for r in ok if r["is_fraudulent"] and r["dir"] == "DEBIT"])
    sums = lambda kinds: total([v for v in accounts if v["account_type"] in kinds], "now")
    ordered = sorted((v["now"] for v in accounts), reverse=True); owners = sorted((total(vs, "now") for vs in grouped(accounts, "customer_id").values()), reverse=True)
    half = ordered[::-1][(len(ordered) - 1) // 2: len(ordered) // 2 + 1]
    def put(section, figure, value, unit, label=""): rows.append((m, section, figure, label, money(value), unit))
    def count(section, figure, value, label=""): put(section, figure, value * 100, "count", label)
    count("kpi", "transactions", len(rs)); count("kpi", "completed", len(ok)); count("kpi", "failed", sum(r["status"] == "FAILED" for r in rs))
    put("kpi", "failure_rate", share(sum(r["status"] == "FAILED" for r in rs), len(rs)), "percent"); put("kpi", "volume", total(ok), "money")
    put("kpi", "average_transaction", up(total(ok), len(ok)) if ok else None, "money"); count("kpi", "active_customers", len(active))
    put("kpi", "transactions_per_active_customer", up(len(ok) * 100, len(active)) if active else None, "ratio")
    put("kpi", "average_processing_ms", up(sum(timed) * 100, len(timed)) if timed else None, "ms")
    count("kpi", "high_risk_transactions", sum(r["risky"] for r in rs)); put("kpi", "high_risk_amount", total([r for r in ok if r["risky"]]), "money")
    count("kpi", "customers", len(people)); count("kpi", "new_customers", sum(v["registration_date"] is not None and month(v["registration_date"]) == m for v in people))
    count("kpi", "accounts", len(accounts)); put("kpi", "active_account_rate", share(sum(v["status"] == "ACTIVE" for v in held), len(held)), "percent")
    put("kpi", "total_balance", all_, "money"); put("kpi", "average_balance", up(all_, len(accounts)) if accounts else None, "money")
    put("kpi", "median_balance", up(sum(half), len(half)) if half else None, "money"); count("kpi", "low_balance_accounts", sum(v["now"] < 10000 for v in accounts))
    put("revenue", "fee_revenue", fees, "money")
    for (c,), some_ in grouped([r for r in rs if r["revenue"]], "channel").items(): put("revenue", "fee_revenue_by_channel", total(some_, "revenue"), "money", c)
    put("revenue", "interest_income", earned, "money"); put("revenue", "total_revenue", fees + earned, "money")
    put("revenue", "revenue_growth_rate", share(fees + earned - revenue_before, revenue_before) if revenue_before is not None else None, "percent")
    put("revenue", "revenue_per_active_customer", up(fees + earned, len(active)) if active else None, "money")
    put("profitability", "interest_expense", paid, "money"); put("profitability", "fraud_losses", lost, "money"); put("profitability", "costs", paid + lost, "money")
    put("profitability", "profit", fees + earned - paid - lost, "money"); put("profitability", "profit_margin", share(fees + earned - paid - lost, fees + earned), "percent")
    for (kind,), vs in by_type.items():
        count("portfolio", "accounts_by_type", len(vs), kind); put("portfolio", "balance_by_type", total(vs, "now"), "money", kind)
        put("portfolio", "average_balance_by_type", up(total(vs, "now"), len(vs)), "money", kind); put("portfolio", "share_by_type", share(total(vs, "now"), all_), "percent", kind)
    put("portfolio", "deposits", sums(DEPOSITS), "money"); put("portfolio", "lending", sums(LENDING), "money"); put("portfolio", "loan_to_deposit_ratio", share(sums(LENDING), sums(DEPOSITS)), "percent")
    put("portfolio", "top_10_accounts_share", share(sum(ordered[:10]), all_), "percent"); put("portfolio", "top_tenth_of_customers_share", share(sum(owners[: -(-len(owners) // 10)]), all_), "percent")
    revenue_before = fees + earned; m = before_next(m)
table("monthly_financial_report", "month section figure label value unit", [(*r[:3], str(r[3]), *r[4:]) for r in rows])

# ---- what must hold whatever the input
def column(name, what):
    with open(OUT / f"{name}.csv", newline="") as file: return [r[what] for r in csv.DictReader(file)]
def added(name, what): return sum(D(v or 0) for v in column(name, what))
volume = D(total(done(txs))) / 100
assert added("daily_customer_summary", "total_amount") == added("channel_city_kpis", "volume") == volume
assert added("spending_patterns", "volume") == 6 * volume and added("fact_transactions", "revenue") == added("channel_city_kpis", "revenue")
assert all(read_ == clean + bad + twice for read_, clean, bad, twice in counts.values())
for name, key in (("dim_customer", "customer_key"), ("dim_account", "account_key"), ("dim_merchant", "merchant_key"), ("dim_channel", "channel_key"), ("dim_city", "city_key")):
    covers = defaultdict(list)
    for i, low, high in zip(column(name, key), column(name, "covers_from"), column(name, "covers_to")): covers[i].append((low, high))
    for fact_key in [key] + (["related_account_key"] if name == "dim_account" else []):
        for i, on in zip(column("fact_transactions", fact_key), column("fact_transactions", "transaction_date")): assert sum(low <= on < high for low, high in covers[i]) == 1, (name, i, on)
assert len(set(column("fact_transactions", "transaction_id"))) == len(facts)
