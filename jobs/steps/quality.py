"""Data quality of a run: Great Expectations judges the workers' measurements, and queries to the staged marts.

It is slow to import: it runs in a process of its own, which a judged build starts first.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from jobs.adapters.great_expectations.process import judge
from jobs.adapters.great_expectations.results import About, Batch, SuiteResult, is_about_whole
from jobs.config.suites import load_mart_suite
from jobs.ports.records import ROWS, QualityRecord, Staged
from jobs.ports.store import Store
from jobs.ports.warehouse import Warehouse
from jobs.report.places import REPORTS, below, places
from jobs.report.run_report import BrokenRule, QualityReport
from jobs.steps.materialize import MartRows
from jobs.steps.resolve import Resolved, ResolvedDrop
from jobs.steps.scan_settings import ScanSettings
from marts.errors import UsageError
from marts.pack import Kind, Mart, Pack
from marts.policy import Policy
from marts.privacy.masking import mask_always, mask_shape
from marts.quality.drift import HISTORY, drifts, feed_of, is_short
from marts.quality.findings import Measured
from marts.quality.measures import merge
from marts.quality.rule_types import FITS, KNOWN
from marts.quality.rules import Rule, Suite
from marts.quality.suite_reader import type_name
from marts.quality.verdicts import holds, observed
from marts.values import amount_of

_FLOOR = Decimal("0.9")
"""Share of the live generation's rows below which a mart raises a warning."""
_HALF_A_CENT = Decimal("0.005")
_FOUND = 20
"""Maximum number of rows fetched from a query; the page shows a part of them."""


@dataclass(frozen=True)
class Pages:
    """Location and naming of the quality pages of a run."""

    store: Store
    run_id: str
    at: datetime
    reports: str = REPORTS
    """Location of the run reports, relative to the first page."""

    def path(self, name: str) -> str:
        return f"runs/{self.run_id}/{name}.html"

    def write(self, judged: SuiteResult) -> None:
        """Write the page of a suite and the official result."""
        page = self.path(judged.name)
        self.store.put(page, judged.page.encode())
        self.store.put(page.replace(".html", ".json"), judged.result.encode())

    def about(self, name: str, words: str, rows: str = "rows") -> About:
        title = f"{words}. Run {self.run_id}, {self.at:%Y-%m-%d %H:%M} UTC."
        return About(self.run_id, self.at, name, title, rows, places(below(self.reports), "../.."))


def plan_suites(pack: Pack, suites: Iterable[Suite]) -> Iterator[tuple[Suite, int]]:
    """Let Great Expectations plan which metrics each suite needs. Raise Defect for one that is not measured."""
    from jobs.adapters.great_expectations.checkpoint import plan

    for suite in suites:
        of = pack.kinds.get(suite.name) or next(mart for mart in pack.marts.values() if mart.table == suite.name)
        yield suite, plan(suite, {column.name: type_name(column.type) for column in of.columns})


def brought(resolved: Resolved, scanned: Container[str]) -> dict[str, list[ResolvedDrop]]:
    """Return the drops that are new to the target or were judged again by this run, by kind."""
    results: dict[str, list[ResolvedDrop]] = {}
    for item in resolved.all:
        drop = item.drop
        if item.state in ("live", "held") and (drop.change != "known" or drop.delivery.id in scanned):
            results.setdefault(drop.delivery.kind, []).append(item)
    return results


def judge_drops(
    drops: Mapping[str, Sequence[ResolvedDrop]],
    settings: ScanSettings,
    known: Mapping[str, tuple[int, int]],
    pages: Pages,
) -> list[QualityReport]:
    """Judge the drops of each kind: one official result each. ``known``: lines and unknown lines by dimension."""
    reports = []
    for kind, resolved in drops.items():
        suite = settings.suites[kind]
        rules = [rule for rule in suite.rules if rule.type != KNOWN or rule.kwargs["dimension"] in known]
        batch = _batch(settings.pack.kinds[kind], rules, resolved, known)
        rows = batch.measured.rows + batch.measured.malformed
        keys = [item.drop.delivery.key for item in resolved]
        held = sum(item.state == "held" for item in resolved)
        words = f"{rows:,} rows of {f'{len(keys):,} drops' if len(keys) > 1 else keys[0]}"
        words += f", {held:,} held" if held else ""
        of = "well-formed rows" if batch.measured.malformed else "rows"
        judged = judge().call("judge", suite, rules, batch, pages.about(kind, words, of), counts=not held)
        pages.write(judged)
        quarantined = sum(item.drop.manifest.quarantined for item in resolved if item.drop.manifest)
        reports.append(_report(judged, rows, len(resolved), pages, quarantined))
    return reports


def _batch(
    kind: Kind, rules: Sequence[Rule], resolved: Sequence[ResolvedDrop], known: Mapping[str, tuple[int, int]]
) -> Batch:
    measured = {v.drop.delivery.key: v.drop.manifest.measured for v in resolved if v.drop.manifest}
    whole = [rule for rule in rules if is_about_whole(rule)] if len(measured) > 1 else []
    broken = {
        rule.id: [
            (mask_always(key), observed(rule, built)) for key, built in measured.items() if not holds(rule, built)
        ]
        for rule in whole
    }
    return Batch(
        measured=merge(list(measured.values())),
        types={column.name: type_name(column.type) for column in kind.columns},
        known=known,
        drops=len(measured),
        broken=broken,
    )


def judge_mart(
    warehouse: Warehouse,
    staged: Staged,
    suite: Suite,
    measured: Measured,
    pages: Pages,
) -> QualityReport:
    """Judge a mart by the measures of its rows, and by queries to the target, where they are staged."""
    mart = staged.mart
    rows_of: dict[str, tuple[int, list[dict[str, Any]]]] = {}
    for per_key in (True, False):
        queries = [rule for rule in suite.rules if rule.level == "mart" and rule.per_key == per_key]
        if queries:
            with warehouse.staged(staged, per_key) as table:
                rows_of |= {rule.id: _query(warehouse, table, rule) for rule in queries}
    batch = Batch(measured, {column.name: type_name(column.type) for column in mart.columns}, query_rows=rows_of)
    about = pages.about(mart.table, f"{staged.rows:,} rows, before publication")
    judged = judge().call("judge", suite, suite.rules, batch, about)
    pages.write(judged)
    return _report(judged, staged.rows, 0, pages)


def suite_of(pack: Pack, mart: Mart, rows: MartRows, live_rows: int, folder: str | None, policy: Policy) -> Suite:
    """Read the suite of a mart, with limits for these rows: the total of the counted lines, and the live rows."""
    total = amount_of(rows.cents)
    results = {
        "counted_total_low": total - _HALF_A_CENT,
        "counted_total_high": total + _HALF_A_CENT,
        "row_count_floor": int(live_rows * _FLOOR),
    }
    return load_mart_suite(pack, mart, folder, policy, results)


def _query(warehouse: Warehouse, table: str, rule: Rule) -> tuple[int, list[dict[str, Any]]]:
    """Count the rows that the query of a rule returns; return up to _FOUND of them, masked."""
    written = rule.kwargs["unexpected_rows_query"]
    query = written.rstrip("; \n").replace("{batch}", table)
    try:
        ((count,),) = warehouse.ask(f"SELECT COUNT(*) FROM ({query}\n) AS found")
        rows = warehouse.ask(f"SELECT * FROM ({query}\n) AS found LIMIT {_FOUND}") if count else []
    except UsageError as error:
        raise UsageError(error.what, written, "correct the query in its suite") from error
    return count, [{f"column {n}": mask_shape(str(value)) for n, value in enumerate(row, 1)} for row in rows]


def _report(judged: SuiteResult, rows: int, drops: int, pages: Pages, quarantined: int = 0) -> QualityReport:
    broken = [result for result in judged.results if not result.success]
    return QualityReport(
        name=judged.name,
        outcome=judged.outcome,
        drops=drops,
        rows=rows,
        quarantined=quarantined,
        rules=len(judged.results),
        broken=tuple(
            BrokenRule(
                rule=item.rule.words,
                severity=item.rule.severity,
                rows=item.rows,
                basis=item.basis,
                unexpected=item.unexpected,
                observed=item.observed,
            )
            for item in broken
        ),
        page=pages.path(judged.name),
    )


def records(drops: Mapping[str, Sequence[ResolvedDrop]], settings: ScanSettings, run_id: str) -> list[QualityRecord]:
    """Return the quality records of each judged drop: its rows, and each rule that some break or miss."""
    built = []
    for kind, resolved in drops.items():
        for item in resolved:
            manifest = item.drop.manifest
            assert manifest
            delivery = manifest.delivery
            rules = {rule.id: rule for rule in settings.suites[kind].rules}
            counted = [(ROWS, "rows in quarantine", "critical", manifest.rows_read, manifest.quarantined)]
            for rule_id, result in manifest.measured.rules.items():
                rule = rules.get(rule_id)
                if rule and (result.unexpected or (result.missing and rule.type != FITS)):
                    looked_at = (manifest.measured.of(rule).rows or 0) - result.missing
                    counted.append((rule_id, rule.words, rule.severity, looked_at, result.unexpected))
            built += [
                QualityRecord(
                    delivery_id=delivery.id,
                    rule_id=rule_id,
                    kind=kind,
                    object_key=delivery.key,
                    modified=delivery.modified,
                    rule=words,
                    severity=severity,
                    row_count=rows_,
                    unexpected=unexpected,
                    judged_by=manifest.rules,
                    run_id=run_id,
                )
                for rule_id, words, severity, rows_, unexpected in counted
            ]
    return built


def unusual(new: Sequence[QualityRecord], before: Sequence[QualityRecord]) -> list[str]:
    """Return warnings about new drops that are unusual for their feed: a rule that drifts, or far fewer rows."""
    feeds: dict[tuple[str, str], dict[str, dict[str, QualityRecord]]] = {}
    for record in (*before, *new):
        feed = feeds.setdefault((feed_of(record.object_key), record.judged_by), {})
        feed.setdefault(record.delivery_id, {})[record.rule_id] = record
    fresh = {record.delivery_id for record in new}
    results: list[tuple[str, str]] = []
    for feed in feeds.values():
        drops = sorted(
            (drop for drop in feed.values() if ROWS in drop), key=lambda d: (d[ROWS].modified, d[ROWS].object_key)
        )
        for place, drop in enumerate(drops):
            if drop[ROWS].delivery_id in fresh:
                results += _unusual(drop, drops[max(0, place - HISTORY) : place])
    by_what: dict[str, list[str]] = {}
    for what, key in results:
        by_what.setdefault(what, []).append(key)
    return [f"{what}: {_some(keys)}" for what, keys in sorted(by_what.items())]


def _unusual(
    drop: Mapping[str, QualityRecord], history: Sequence[Mapping[str, QualityRecord]]
) -> list[tuple[str, str]]:
    key, rows = drop[ROWS].object_key, drop[ROWS].row_count
    results = []
    if is_short([earlier[ROWS].row_count for earlier in history], rows):
        results.append(("fewer than half of the usual rows", f"{key} ({rows:,})"))
    for rule_id, record in drop.items():
        shares = [
            (earlier[rule_id].row_count, earlier[rule_id].unexpected)
            if rule_id in earlier
            else (earlier[ROWS].row_count, 0)
            for earlier in history
        ]
        if drifts(shares, (record.row_count, record.unexpected)):
            results.append((f"broken more often than usual: {record.rule}", f"{key} ({record.unexpected:,} rows)"))
    return results


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3:,} more" if len(keys) > 3 else "")
