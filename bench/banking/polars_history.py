"""The versions of a dimension in Polars: snapshots are folded day by day, as there are few of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import polars as pl

from bench.banking.polars_lines import scan
from bench.banking.polars_values import PER_CENT, amount, cents_of, day, version_key, whole, word
from bench.engines.contract import Order

EVER, FOREVER = date(1900, 1, 1), date(9999, 12, 31)


def text(name: str) -> pl.Expr:
    return pl.col(name)


def rate(name: str) -> pl.Expr:
    return cents_of(name)


PARSERS: dict[str, Callable[[str], pl.Expr]] = {
    "id": whole, "text": text, "word": word, "day": day, "money": cents_of, "rate": rate,
}  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """The rows of a drop of a dimension."""

    day: date
    good: pl.DataFrame
    bad: pl.DataFrame
    """Keys of rows in quarantine; they keep what they were."""
    is_log: bool


@dataclass(frozen=True)
class History:
    """The versions of a kind, and its good rows by day."""

    versions: pl.DataFrame
    reports: pl.DataFrame


@dataclass(frozen=True)
class Kind:
    """A kind of snapshots: its columns with their types."""

    name: str
    key: str
    columns: dict[str, str]
    needed: tuple[str, ...]
    carried: tuple[str, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Columns with the values that they may have."""

    def rules(self) -> list[pl.Expr]:
        """Return what holds of a good row."""
        rules = [pl.col(self.key) >= 1]
        rules += [pl.col(f"text_{name}").is_null() | pl.col(name).is_not_null() for name in self.columns]
        rules += [pl.col(name).cast(pl.String).str.strip_chars(" ") != "" for name in self.needed]
        rules += [pl.col(name).is_in(values) for name, values in self.lists]
        money = [name for name, type_ in self.columns.items() if type_ in {"money", "rate"}]
        rules += [pl.col(f"text_{name}").is_null() | (amount(f"text_{name}") % PER_CENT == 0) for name in money]
        if self.name == "accounts":
            rules.append(
                (pl.col("account_type") == "INTERNAL") | (pl.col("balance") >= 0) & pl.col("customer_id").is_not_null()
            )
        if self.name == "channels":
            rules.append(pl.col("fee_percent").is_between(0, 10_000))
        return rules


ACCOUNT_TYPES = ("CHECKING", "SAVINGS", "BUSINESS", "INVESTMENT", "CREDIT", "LOAN", "INTERNAL")
KINDS = (
    Kind(
        "customers",
        "customer_id",
        {
            "full_name": "text", "status": "word", "email": "text", "phone": "text", "address": "text",
            "country": "text", "city_id": "id", "segment": "text", "risk_category": "text", "date_of_birth": "day",
            "registration_date": "day", "credit_score": "id", "monthly_income": "money",
        },
        needed=("full_name", "status"),
        carried=("credit_score", "monthly_income"),
        lists=(("status", ("ACTIVE", "INACTIVE", "SUSPENDED")),),
    ),
    Kind(
        "accounts",
        "account_id",
        {
            "customer_id": "id", "account_type": "word", "status": "word", "currency": "word",
            "balance": "money", "interest_rate": "rate", "opening_date": "day",
        },
        needed=("account_type", "status", "currency", "balance"),
        carried=("balance",),
        lists=(
            ("account_type", ACCOUNT_TYPES),
            ("status", ("ACTIVE", "INACTIVE", "DORMANT", "FROZEN", "CLOSED")),
        ),
    ),
    Kind(
        "merchants",
        "merchant_id",
        {"merchant_name": "text", "category": "text", "mcc": "text", "country": "text", "city_id": "id"},
        needed=("merchant_name", "category"),
    ),
    Kind(
        "channels",
        "channel_id",
        {"channel_name": "text", "fee_percent": "rate"},
        needed=("channel_name", "fee_percent"),
    ),
    Kind(
        "cities",
        "city_id",
        {"city_name": "text", "state": "text", "region": "text", "country": "text"},
        needed=("city_name",),
    ),
)  # fmt: skip


def history(order: Order, kind: Kind) -> History:
    """Fold the snapshots of a kind up to as_of."""
    optional = [*kind.columns, "op", "updated_at"]
    snapshots = [snapshot(kind, on, scan([path], optional)) for on, path in order.snapshots(kind.name)]
    none = pl.LazyFrame(schema=dict.fromkeys([kind.key, *optional], pl.String))
    snapshots = [snapshot(kind, EVER, none), *snapshots]
    columns = [kind.key, *kind.columns]
    rows = [item.good.filter(pl.col("op").ne_missing("d")).with_columns(day=item.day) for item in snapshots]
    reports = pl.concat(rows).select(*columns, "day")
    return History(
        with_covers(kind, versions(kind, snapshots), order.as_of),
        reports.unique([kind.key, "day"], keep="last", maintain_order=True),
    )


def snapshot(kind: Kind, on: date, raw: pl.LazyFrame) -> Snapshot:
    """Type the rows of a drop, and split off those that break a rule."""
    rows = raw.select(
        *(pl.col(name).alias(f"text_{name}") for name in kind.columns),
        whole(kind.key),
        *(PARSERS[type_](name).alias(name) for name, type_ in kind.columns.items()),
        pl.col("op").str.to_lowercase(),
        day("updated_at").alias("updated_at"),
    ).with_columns(is_good=pl.all_horizontal(rule.fill_null(value=False) for rule in kind.rules()))
    table = rows.collect()
    good = table.filter("is_good").select(kind.key, *kind.columns, "op", "updated_at")
    return Snapshot(on, good, table.filter(~pl.col("is_good")).select(kind.key), good["op"].count() > 0)


def next_state(kind: Kind, state: pl.DataFrame, drop: Snapshot) -> pl.DataFrame:
    """Apply a drop to the state before: a log changes the rows it names, a full table replaces all."""
    new = drop.good.unique(kind.key, keep="last")
    kept = state.join(new, on=kind.key, how="anti")
    if drop.is_log:
        return pl.concat([kept, new.filter(pl.col("op").ne_missing("d"))])
    if (drop.bad[kind.key].fill_null(0) >= 1).all():  # else a row without a key may be anybody's
        kept = kept.join(drop.bad, on=kind.key, how="semi")
    return pl.concat([kept, new])


def versions(kind: Kind, snapshots: list[Snapshot]) -> pl.DataFrame:
    """Return the versions: a change of a followed column starts one."""
    key, names = kind.key, list(kind.columns)
    compared = [name for name in names if name not in kind.carried]
    state = snapshots[0].good.clear()
    current = state.select(key, *names).with_columns(
        pl.lit(None, dtype=pl.Date).alias(name) for name in ("valid_from", "last_seen")
    )
    ended = []
    last = EVER
    for on, drops in groupby(snapshots, key=lambda item: item.day):
        for drop in drops:
            state = next_state(kind, state, drop)
        both = current.join(state, on=key, how="full", suffix="_new", coalesce=True).with_columns(
            was=pl.col("valid_from").is_not_null(), stays=pl.col(key).is_in(state[key].implode())
        )
        is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_new")) for name in compared)
        updated = pl.col("updated_at")
        in_between = pl.col("was") & pl.col("stays") & (updated > last) & (updated <= on)
        both = both.with_columns(
            same=pl.col("was") & pl.col("stays") & is_same,
            since=pl.when(in_between).then(updated).otherwise(pl.lit(on)),
        )
        over = both.filter(pl.col("was") & ~pl.col("same"))
        reason = pl.when("stays").then(pl.lit("CHANGED")).otherwise(pl.lit("DELETED"))
        ended.append(
            over.select(
                key, *names, "valid_from", "last_seen", pl.col("since").alias("valid_to"), reason.alias("end_reason")
            )
        )
        current = both.filter("stays").select(
            key,
            *(pl.col(f"{name}_new").alias(name) for name in names),
            pl.when("same").then("valid_from").otherwise("since").alias("valid_from"),
            pl.lit(on).alias("last_seen"),
        )
        last = on
    still = current.with_columns(valid_to=pl.lit(FOREVER), end_reason=pl.lit(None, dtype=pl.String))
    return pl.concat([*ended, still])


def with_covers(kind: Kind, rows: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Add the key of each version, and the days that it covers without gaps."""
    ordered = rows.sort(kind.key, "valid_from")
    since = pl.col("valid_from")
    return ordered.with_columns(
        version_key=version_key(pl.col(kind.key), since),
        is_current=(since <= as_of) & (pl.col("valid_to") > as_of),
        covers_from=pl.when(since.shift(1).over(kind.key).is_null()).then(pl.lit(EVER)).otherwise(since),
        covers_to=since.shift(-1).over(kind.key).fill_null(FOREVER),
        is_inferred=pl.lit(value=False),
    )
