"""What must hold before anything is published, and what people should hear of although it does."""

from collections.abc import Sequence
from decimal import Decimal

from jobs.finish import MartRows
from jobs.judge import Verdicts
from jobs.plan import Plan
from marts.errors import Defect, UnknownPeople
from marts.policy import Policy
from marts.schema import CUSTOMERS, SALES_TEAM, STORES


def check_marts(marts: Sequence[MartRows], verdicts: Verdicts, policy: Policy) -> None:
    """Check the marts against the lines. Raises UnknownPeople or Defect: nothing is published then."""
    counts = verdicts.counts
    _check_rows(verdicts)
    for rows in marts:
        if rows.cents + rows.erased_cents != counts.counted_cents:
            sums = f"{_money(rows.cents)}, but its lines sum to {_money(counts.counted_cents)}"
            raise Defect(
                f"total_sales of the mart sums to {sums}", rows.mart, "run again with --rebuild, and report it"
            )
    for kind, lines in unknown(marts).items():
        ratio = lines / counts.counted if counts.counted else 0.0
        if kind in verdicts.absent and kind == STORES.name:
            continue
        if ratio > policy.max_unknown_ratio:
            left_out = [v for v in verdicts.all if v.drop.delivery.kind == kind and v.state in ("rejected", "held")]
            because = "".join(f"; {v.drop.delivery.key} is {v.state}: {v.reason}" for v in left_out)
            raise UnknownPeople(
                f"{lines:,} of {counts.counted:,} lines ({ratio:.1%}) have no row in {kind}, "
                f"more than max_unknown_ratio {policy.max_unknown_ratio:.1%}{because}",
                f"{kind}/",
                f"deliver all of {kind}, or raise max_unknown_ratio in the policy; the live marts are untouched",
            )


def _check_rows(verdicts: Verdicts) -> None:
    """Check that every clean row that the scan counted came to the roll up, once."""
    for verdict in verdicts.all:
        manifest = verdict.drop.manifest
        if verdict.state == "live" and manifest and manifest.months and verdict.counts.lines != manifest.clean:
            seen = f"{manifest.clean:,} clean rows were written, but {verdict.counts.lines:,} were rolled up"
            raise Defect(seen, manifest.delivery.key, "run again with --rebuild, and report it")


def unknown(marts: Sequence[MartRows]) -> dict[str, int]:
    """Give the lines without a dimension row, by kind."""
    return {kind: lines for rows in marts for kind, lines in rows.unknown.items()}


def warnings_of(plan: Plan, verdicts: Verdicts, marts: Sequence[MartRows]) -> tuple[str, ...]:
    """Say what is not wrong enough to stop, in sentences."""
    return (
        *_absent(verdicts),
        *_bad_dimension_rows(verdicts),
        *(f"{lines:,} lines have no row in {kind}/" for kind, lines in unknown(marts).items() if lines),
        *_of_drops(plan, verdicts),
        *_after_as_of(verdicts),
        *(f"{count} objects under {kind}/ are no .csv or .csv.gz" for kind, count in plan.passed_over.items() if count),
    )


def _absent(verdicts: Verdicts) -> list[str]:
    names = [name for name in verdicts.absent if name in (CUSTOMERS.name, SALES_TEAM.name, STORES.name)]
    return [f"there is no {name}/ drop to look up" for name in names]


def _bad_dimension_rows(verdicts: Verdicts) -> list[str]:
    """Say which rows of the live dimensions are not used: each makes somebody UNKNOWN."""
    return [
        f"{m.delivery.key}: {m.quarantined:,} of {m.rows_read:,} rows are in quarantine, "
        f"as line {m.reasons[0].line:,}: {m.reasons[0].rule}"
        for m in verdicts.dimensions
        if m.quarantined
    ]


def _of_drops(plan: Plan, verdicts: Verdicts) -> list[str]:
    live = verdicts.live_sales
    extra = sorted({name for manifest in live for name in manifest.extra_columns})
    currencies = sorted({currency for manifest in live for currency in manifest.currencies})
    without = verdicts.counts.without_transaction
    found = []
    if extra:
        found.append(f"unknown columns are kept in additional_columns: {', '.join(extra)}")
    if len(currencies) > 1:
        found.append(f"amounts in {', '.join(currencies)} are added up without conversion")
    if without:
        found.append(
            f"{without:,} lines have no transaction_id: each is a purchase of its own, equal ones are all kept"
        )
    overruled = [manifest for manifest in (*live, *verdicts.dimensions) if manifest.overruled]
    found += [
        f"{m.delivery.key}: {len(m.overruled):,} repaired rows count as they came, since changed rules accept them"
        for m in overruled
    ]
    if plan.older_rules:
        found.append(f"{plan.older_rules} drops were judged by older row rules; --rescan judges them again")
    return found


def _after_as_of(verdicts: Verdicts) -> list[str]:
    counts = verdicts.counts
    left_out = counts.lines - counts.duplicates - counts.counted
    return [f"{left_out:,} lines are dated after as_of, and left out"] if left_out else []


def _money(cents: int) -> str:
    return f"{Decimal(cents).scaleb(-2):,}"
