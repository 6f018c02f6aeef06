"""Check what must hold before a publication, and collect the warnings and notes of a run that passes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from jobs.ports.store import Store
from jobs.state.manifest import TABLES
from jobs.steps.materialize import MartRows
from jobs.steps.materialize_task import rows_in
from jobs.steps.planned import Plan
from jobs.steps.resolve import COUNTS_ON, Resolved, ResolvedDrop, may_be_withdrawn
from jobs.steps.series import series_of
from jobs.steps.withdrawals import TAKEN_BACK
from marts.errors import DataError, Defect, MartsError, SqlFailed, UnknownPeople, UsageError
from marts.pack import Pack
from marts.policy import Policy, nearest
from marts.values import amount_of, displayed


def check_marts(marts: Sequence[MartRows], resolved: Resolved, policy: Policy) -> None:
    """Check the marts against the lines. Raise UnknownPeople, SqlFailed or Defect if nothing may be published."""
    _check_rows(resolved)
    for rows in marts:
        mart = resolved.pack.tables[rows.mart]
        if not mart.control or not mart.reads:
            continue
        counts = resolved.counts_of(resolved.pack.facts_of(mart))
        without = rows.erased_cents + rows.guest_cents
        if rows.cents + without != counts.counted_cents or rows.guest_cents not in (0, counts.guest_cents):
            left_out = f" ({_money(rows.guest_cents)} of guests)" if rows.guest_cents else ""
            sums = f"{_money(rows.cents)}{left_out}, but its lines sum to {_money(counts.counted_cents)}"
            raise _lost(f"{mart.control} of the mart sums to {sums}", rows.mart, resolved.pack)
    _check_totals(marts, resolved.pack)
    for kind, (known, lines) in looked_up(marts, resolved).items():
        ratio = lines / known if known else 0.0
        if kind in resolved.absent and resolved.pack.may_be_absent(kind):
            continue
        if ratio > policy.max_unknown_ratio and policy.unknown_people == "stop":
            because = "".join(f"; {text}" for text in _about_dimension(resolved, kind))
            raise UnknownPeople(
                f"{lines:,} of {known:,} lines ({ratio:.1%}) have no row in {kind}, "
                f"more than max_unknown_ratio {policy.max_unknown_ratio:.1%}{because}",
                f"{kind}/",
                f"deliver all of {kind}, or raise max_unknown_ratio in the policy, or set unknown_people = "
                '"warn" there; the live marts are untouched',
            )
    currencies = currencies_of(resolved)
    if len(currencies) > 1 and policy.mixed_currencies == "stop":
        raise DataError(
            f"live lines have amounts in {', '.join(currencies)}, which would be added up as they are",
            "drops",
            'deliver one currency, or set mixed_currencies = "add" in the policy; the live marts are untouched',
        )


def require_no_stops(store: Store, marts: Sequence[MartRows], pack: Pack) -> None:
    """Raise DataError for the first row of a table whose rows stop a build."""
    for rows in marts:
        mart = pack.tables[rows.mart]
        says, hint = mart.stops
        if says and rows.rows:
            first = rows_in(store, mart, rows.parts).slice(0, 1).to_pylist()[0]
            more = f" ({rows.rows - 1:,} more)" if rows.rows > 1 else ""
            what = says.format(**displayed(mart, first))
            raise DataError(f"{what}{more}", rows.mart, f"{hint}; the live marts are untouched")


def _check_totals(marts: Sequence[MartRows], pack: Pack) -> None:
    """Check that a mart computed from other marts sums to the first of them that has a control."""
    cents = {rows.mart: rows.cents for rows in marts}
    for name, own in cents.items():
        mart = pack.tables[name]
        read = next((other for other in mart.also if other in cents and pack.tables[other].control), "")
        if mart.control and not mart.reads and read and cents[read] != own:
            sums = f"{mart.control} of the mart sums to {_money(own)}, but {read} to {_money(cents[read])}"
            raise _lost(sums, name, pack)


def _lost(what: str, table: str, pack: Pack) -> MartsError:
    """Return the error for a mart that has lost or repeated rows: by the SQL of a user's pack, or by a defect."""
    if not pack.folder:
        return Defect(what, table, "run `marts build --rebuild`, and report it")
    tables = {table, pack.tables[table].reads, *pack.tables[table].also} - {""}
    hint = f"correct the SQL of {' or '.join(sorted(tables))}: a JOIN, WHERE or GROUP BY of it loses or repeats rows"
    return SqlFailed(what, f"tables.{table}", f"{hint}; the live marts are untouched")


def currencies_of(resolved: Resolved) -> list[str]:
    """Return the currencies of the live lines, in upper case."""
    return sorted({name.upper() for manifest in resolved.live_facts for name in manifest.currencies})


def looked_up(marts: Sequence[MartRows], resolved: Resolved) -> dict[str, tuple[int, int]]:
    """Return by dimension the lines to look up in it, and those without a row in it, of the mart with most of these.

    Lines of guests are not looked up among the people.
    """
    results: dict[str, tuple[int, int]] = {}
    pack = resolved.pack
    for rows in marts:
        for kind, lines in rows.unknown.items():
            counts = resolved.counts_of(pack.months[pack.tables[rows.mart].reads].reads)
            known = counts.counted - counts.guests if pack.kinds[kind].is_subject else counts.counted
            results[kind] = max(results.get(kind, (known, 0)), (known, lines), key=lambda item: item[1])
    return results


def _about_dimension(resolved: Resolved, kind: str) -> list[str]:
    """Describe the drops of a dimension: key, state, and reason or age."""
    own = [v for v in resolved.all if v.drop.delivery.kind == kind and v.state != "older"]
    messages = [
        f"{v.drop.delivery.key} is {v.state}"
        + (f": {v.reason}" if v.reason else f", of {v.drop.delivery.modified[:16]} UTC")
        for v in own
    ]
    return messages or [f"no drop under {kind}/"]


def require_lines(resolved: Resolved) -> None:
    """Raise DataError for drops that count but have neither an object nor lines in the state."""
    lost = [v for v in resolved.all if v.state in COUNTS_ON and v.drop.manifest is None]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        names = ", ".join(v.drop.delivery.key for v in lost[:5]) + more
        last = (
            "withdraw the drops: `marts withdraw accept DROP`"
            if all(map(may_be_withdrawn, lost))
            else "deliver usable versions (`marts plan` shows what is wrong with the current ones)"
        )
        raise DataError(
            f"{len(lost)} drops count, but their objects were removed and the state has lost their lines: {names}",
            "state",
            f"restore the objects under their names, restore the state, or {last}; the live marts are untouched",
        )


def require_key(resolved: Resolved, keys: Mapping[str, Sequence[str]]) -> None:
    """Raise UsageError for a column of transaction_key that no live drop has: transactions would be merged."""
    for fact, key in keys.items():
        known = {"day", *(column.name for column in resolved.pack.kinds[fact].columns if column.mandatory)}
        own = [manifest for manifest in resolved.live_facts if manifest.delivery.kind == fact]
        for manifest in own:
            known |= {*manifest.measured.columns, *manifest.extra_columns}
        for name in key if own else ():
            if name not in known:
                raise UsageError(
                    *(f"transaction_key names {name!r}, which no drop of {fact} has{nearest(name, known)}", "policy"),
                    f"name day, or a column of the drops of {fact}; the live marts are untouched",
                )


def _check_rows(resolved: Resolved) -> None:
    """Check that every clean row that the scan counted was rolled up once."""
    for item in resolved.all:
        manifest = item.drop.manifest
        if item.state in COUNTS_ON and manifest and manifest.months and item.counts.lines != manifest.clean:
            seen = f"{manifest.clean:,} clean rows were written, but {item.counts.lines:,} were rolled up"
            raise Defect(seen, manifest.delivery.key, "run `marts build --rebuild`, and report it")


def warnings_of(plan: Plan, resolved: Resolved, marts: Sequence[MartRows]) -> tuple[str, ...]:
    """Return warnings about what does not stop the run."""
    return (
        *_absent(resolved),
        *_bad_dimension_rows(resolved),
        *(
            f"{lines:,} lines have no row in {kind}/"
            for kind, (_, lines) in looked_up(marts, resolved).items()
            if lines
        ),
        *_of_drops(plan, resolved),
        *_of_identity(plan, resolved),
        *_of_gone(resolved),
        *_of_older_tables(plan, resolved),
        *_of_shrunk_series(resolved),
        *_of_lost_repairs(resolved),
        *_after_as_of(resolved),
        *(
            f"{count} objects under {kind}/ are not .csv or .csv.gz"
            for kind, count in plan.passed_over.items()
            if count
        ),
    )


def notes_of(plan: Plan, resolved: Resolved) -> tuple[str, ...]:
    """Return notes that explain the numbers where nothing is wrong."""
    counts = resolved.counts
    notes = []
    if plan.unremembered > 1:
        facts = " and ".join(kind.name for kind in plan.pack.facts)
        words = f"{plan.unremembered:,} drops of {facts} were ordered by the times and names of their objects"
        notes.append(f"this target has no history of drops yet: {words}")
    if counts.guests:
        people = [mart.table for mart, _ in resolved.pack.marts_of_people if mart.per != "month"]
        others = [mart.table for mart in resolved.pack.marts.values() if mart.table not in people]
        counts_in = f"count in {', '.join(others)}, not in" if others else "do not count in"
        words = f"{counts_in} {', '.join(people)}" if people else "count in all marts"
        notes.append(f"{counts.guests:,} lines of guests ({_money(counts.guest_cents)}) {words}")
    if counts.repeated:
        notes.append(
            f"{counts.repeated:,} lines ({_money(counts.repeated_cents)}) repeat equal lines: one of each counts"
        )
    if plan.no_data:
        notes.append(f"{plan.no_data:,} objects are ignored because of their names (_…, .…, .crc, .tmp, .part)")
    return tuple(notes)


def _of_identity(plan: Plan, resolved: Resolved) -> list[str]:
    """Warn of lines that may count twice or not at all if the policy does not fit the source."""
    counts, result = resolved.counts, []
    numbers = " or ".join(dict.fromkeys(fact.number for fact in resolved.pack.facts if fact.number))
    if counts.replaced_unnumbered:
        result.append(
            f"{counts.replaced_unnumbered:,} lines without {numbers} ({_money(counts.replaced_unnumbered_cents)}) were "
            'replaced by later deliveries of their transactions; if the source splits baskets, set redelivered = "add" '
            "in the policy (`marts history --replaced DROP` lists them)"
        )
    numbered = resolved.counts_of({fact.name for fact in resolved.pack.facts if not fact.once_per_id})
    if numbered.replaced > numbered.replaced_unnumbered:
        cents = numbered.replaced_cents - numbered.replaced_unnumbered_cents
        lines = numbered.replaced - numbered.replaced_unnumbered
        result.append(f"{lines:,} numbered lines ({_money(cents)}) were replaced by later lines of the same number")
    if counts.conflicting:
        have = "1 line has" if counts.conflicting == 1 else f"{counts.conflicting:,} lines have"
        result.append(f"{have} the number or id of another line of the same drop: the last one counts")
    if counts.overlapping:
        result.append(
            f"{counts.overlapping:,} transactions were delivered several times with other items, and all "
            'lines count; if a later delivery is the whole transaction, set redelivered = "transaction" in the policy'
        )
    if counts.equal:
        result.append(
            f"{counts.equal:,} lines equal another line of their transaction in the same drop and count; "
            'if the source repeats lines, set equal_lines = "drop" in the policy'
        )
    alike = "have the same rows, too few to treat them as one drop: rows without an id count in each"
    live = {v.drop.delivery.id: v.drop.delivery.key for v in resolved.all if v.state in COUNTS_ON}
    small = [[live[name] for name in names if name in live] for names in plan.small_alike]
    result += [f"{' and '.join(keys)} {alike}" for keys in small if len(keys) > 1]
    return result


def _of_gone(resolved: Resolved) -> list[str]:
    """Warn of drops whose object was removed."""
    missing = [v for v in resolved.all if v.state == "missing"]
    results = []
    if missing:
        clean = sum(v.report.clean for v in missing)
        results.append(
            f"{len(missing):,} {resolved.pack.counting} drops with {clean:,} clean lines were removed from the "
            "source and still count: `marts withdraw list` lists them, `marts withdraw accept` withdraws them, "
            "`refuse` keeps them"
        )
    taken = [v for v in resolved.all if v.state == "withdrawn" and v.reason in TAKEN_BACK]
    if taken:
        names = ", ".join(v.drop.delivery.key for v in taken[:5]) + (" …" if len(taken) > 5 else "")
        lines = sum(v.drop.record.clean for v in taken if v.drop.record)
        results.append(
            f"{len(taken):,} {resolved.pack.counting} drops ({lines:,} lines) were removed from the source and "
            f"withdrawn: {names}"
        )
    results += [
        f"{v.drop.delivery.key} was removed and waited for a decision; a new version of it counts instead"
        for v in resolved.all
        if v.state == "withdrawn" and v.drop.gone == "replaced" and v.drop.record and v.drop.record.asked
    ]
    results += [
        f"{v.drop.delivery.key}: {v.reason}"
        for v in resolved.all
        if v.drop.gone and v.state == "live" and (v.drop.gone == "replaced" or not v.drop.is_fact)
    ]
    return results


def _of_older_tables(plan: Plan, resolved: Resolved) -> list[str]:
    """Warn of a dimension whose newest drop was removed, so that an older one counts."""
    existing = {v.drop.delivery.key for v in resolved.all if not v.drop.gone}
    live = {v.drop.delivery.kind: v.drop for v in resolved.all if v.state == "live" and not v.drop.gone}
    removed = (r for r in plan.withdrawn if r.state == "live" and r.kind in live and r.object_key not in existing)
    return [
        f"{record.object_key} was removed: {drop.delivery.key}, an older table of {record.kind}, counts"
        for record in removed
        if (drop := live[record.kind]).place < (record.first_seen or record.modified, record.first_key)
        and not record.object_key.startswith(TABLES)  # a snapshot: its name is its content
    ]


def _of_shrunk_series(resolved: Resolved) -> list[str]:
    """Warn of the drop of a series that has fewer rows than the one before it: it may hold something else."""
    results = []
    series: dict[tuple[str, ...], list[ResolvedDrop]] = defaultdict(list)
    for item in sorted(resolved.all, key=lambda item: item.drop.rank):
        if (name := series_of(item.drop)) and item.drop.manifest and not item.drop.gone:
            series[name].append(item)
    for items in series.values():
        older = [item for item in items if item.state == "older"]
        for item in items:
            if item.state not in COUNTS_ON or not older:
                continue
            rows, before = _clean(item), _clean(older[-1])
            if rows < before:
                results.append(
                    f"{item.drop.delivery.key} has {rows:,} rows and supersedes {older[-1].drop.delivery.key} with "
                    f"{before:,}; if they are of different sources, write a [[source]] block for each"
                )
    return results


def _clean(item: ResolvedDrop) -> int:
    return item.drop.manifest.clean if item.drop.manifest else 0


def _of_lost_repairs(resolved: Resolved) -> list[str]:
    """Warn of repaired rows that are in quarantine again because the same rows were delivered as other bytes."""
    taken_over = (v.drop for v in resolved.all if v.state == "withdrawn" and v.drop.twin and not v.drop.twin.repaired)
    return [
        f"{drop.delivery.key} is now delivered as {drop.duplicate_of}: {len(drop.manifest.repaired):,} rows repaired "
        f"in it are in quarantine again; repair them in {drop.duplicate_of} (`marts quarantine export`)"
        for drop in taken_over
        if drop.manifest and drop.manifest.repaired
    ]


def _absent(resolved: Resolved) -> list[str]:
    names = [name for name in resolved.absent if name in resolved.pack.looked_up]
    return [f"no {name}/ drop to look up" for name in names]


def _bad_dimension_rows(resolved: Resolved) -> list[str]:
    """Warn of quarantined rows of the live dimensions: they are not used in lookups."""
    return [
        f"{m.delivery.key}: {m.quarantined:,} of {m.rows_read:,} rows are in quarantine, "
        f"for example line {m.reasons[0].line:,}: {m.reasons[0].rule}"
        for m in resolved.dimensions
        if m.quarantined
    ]


def _of_drops(plan: Plan, resolved: Resolved) -> list[str]:
    live = resolved.live_facts
    extra = sorted({name for manifest in live for name in manifest.extra_columns})
    currencies = currencies_of(resolved)
    without = resolved.counts.without_transaction
    ids = " or ".join(dict.fromkeys(fact.id for fact in resolved.pack.facts if fact.id))
    results = []
    if extra:
        results.append(f"unknown columns are kept in additional_columns: {', '.join(extra)}")
    if len(currencies) > 1:
        results.append(f"amounts in {', '.join(currencies)} are summed without conversion")
    if without:
        results.append(f"{without:,} lines have no {ids}: each is a transaction of its own, equal ones are all kept")
    overruled = [manifest for manifest in (*live, *resolved.dimensions) if manifest.overruled]
    results += [
        f"{m.delivery.key}: {len(m.overruled):,} repaired rows count as delivered because changed rules accept them"
        for m in overruled
    ]
    if plan.older_gone:
        results.append(
            f"{plan.older_gone} drops whose objects were removed were judged by older row rules and count as judged: "
            "restore their objects to judge them again"
        )
    if plan.forgotten:
        results.append(
            f"the state has {plan.forgotten:,} {plan.pack.counting} drops whose objects were removed, and the ledger "
            "is empty: "
            'they do not count; with withdrawals = "keep", restore the database or the objects'
        )
    if plan.older_rules:
        results.append(f"{plan.older_rules} drops were judged by older row rules; --rescan judges them again")
    return results


def _after_as_of(resolved: Resolved) -> list[str]:
    counts = resolved.counts
    left_out = counts.lines - counts.duplicates - counts.counted
    return [f"{left_out:,} lines are dated after as_of and left out"] if left_out else []


def _money(cents: int) -> str:
    return f"{amount_of(cents):,}"
