"""What people are notified of: once, with everything they need, and nothing they must not see."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ports.notices import Notice, NoticeDelivery, announced_topics, claimed, closed, merged, settled
from jobs.ports.records import RunRecord
from jobs.report.notices import Addresses, RunHistory, before, over, raised
from jobs.report.run_report import AlertReport, BrokenRule, DropReport, Problem, QualityReport, RunReport
from jobs.state.manifest import Reason

NOW = datetime(2024, 4, 1, 3, tzinfo=UTC)
ALL = Addresses(
    {"ops": ("failed", "held", "unknown", "quality", "alert", "recovered", "success")}, "https://reports.test/marts"
)


def report(run: str = "run-9", **more: Any) -> RunReport:
    fields: dict[str, Any] = {"outcome": "published", "exit_code": 0, "as_of": "2024-03-31", "source": "s3://drops"}
    fields |= {"target": "mysql://marts@db/marts", "state": "s3://drops/_marts", "started_at": NOW, "ended_at": NOW}
    return RunReport(run_id=run, **{**fields, **more})


def failed(
    what: str = "S3 refuses us", kind: str = "ServiceError", error_where: str = "s3://drops", **more: Any
) -> RunReport:
    error = Problem(what=what, where=error_where, hint="check the keys", kind=kind)
    return report(**{"outcome": "failed", "exit_code": 69, "error": error, **more})


def record(run: str, outcome: str, at: str) -> RunRecord:
    return RunRecord(run, at, at, "2024-03-30", outcome, 0, "", "{}")


def single_notice(done: RunReport, was: RunHistory | None = None, known: list[Notice] | None = None) -> Notice:
    (notice,) = raised(done, was or RunHistory(), known or [], ALL)
    return notice


def test_a_failure_reports_what_where_since_when_what_is_safe_and_what_to_do() -> None:
    was = before(
        [
            record("run-9", "running", "2024-04-01T03:00:00+00:00"),
            record("run-8", "failed", "2024-03-31T03:00:00+00:00"),
            record("run-7", "published", "2024-03-30T03:00:00+00:00"),
            record("run-6", "failed", "2024-03-29T03:00:00+00:00"),
        ],
        "run-9",
    )
    notice = single_notice(failed(), was)
    assert notice.subject == "Martwright: The build failed: S3 refuses us"
    assert notice.level == "failure"
    for line in (
        "What:     S3 refuses us",
        "Where:    s3://drops",
        "Since:    2024-03-31 03:00 UTC, 2 runs",
        "Safe:     Nothing was published; the live marts are untouched. Last good run: run-7 (as of 2024-03-30).",
        "Do:       check the keys",
        "Report:   https://reports.test/marts/run-9.html (or marts report run-9)",
        "Run:      run-9, as of 2024-03-31, exit code 69",
        "Target:   mysql://marts@db/marts",
    ):
        assert line in notice.body.splitlines()


@pytest.mark.parametrize(
    ("kind", "event"),
    [("ServiceError", "failed"), ("UnknownPeople", "unknown"), ("QualityBroken", "quality"), ("Defect", "failed")],
)
def test_each_failure_is_an_event(kind: str, event: str) -> None:
    assert single_notice(failed(kind=kind)).event == event


@pytest.mark.parametrize("kind", ["TryLater", "Fenced"])
def test_a_run_that_made_way_for_another_is_no_news(kind: str) -> None:
    assert raised(failed(kind=kind), RunHistory(), [], ALL) == []


def test_new_rows_of_a_mart_are_one_notice_with_some_of_them() -> None:
    row = {"id": "T7", "amount": "6,000.00", "reasons": "CONFIRMED;NIGHT"}
    alert = AlertReport(
        name="fraud",
        title="12 new high-risk transactions",
        hint="marts banking risks top lists them",
        count=12,
        headings={"id": "Transaction", "amount": "Amount", "reasons": "Reasons"},
        rows=(row,),
    )
    notices = raised(report(alerts=(alert,)), RunHistory(), [], ALL)
    (notice,) = [item for item in notices if item.event == "fraud"]
    assert notice.subject == "Martwright: 12 new high-risk transactions"
    for line in (
        "New:      T7: amount 6,000.00, reasons CONFIRMED;NIGHT",
        "          and 11 more",
        "Do:       marts banking risks top lists them",
    ):
        assert line in notice.body.splitlines()
    again = raised(report("run-10"), RunHistory(), [notice], ALL)
    assert [item.event for item in again] == ["success"]


def test_an_alert_goes_to_who_wants_it_by_its_name_or_all_alerts() -> None:
    alerts = tuple(
        AlertReport(name=name, title=name, hint="look", count=1, headings={"id": "Id"}, rows=({"id": "T7"},))
        for name in ("fraud", "ledger")
    )
    wants = {"desk": ("failed", "fraud"), "books": ("ledger",), "ops": ("failed", "alert"), "boss": ("failed",)}
    notices = raised(report(alerts=alerts), RunHistory(), [], Addresses(wants))
    assert {notice.event: sorted(notice.deliveries) for notice in notices} == {
        "fraud": ["desk", "ops"],
        "ledger": ["books", "ops"],
    }
    (failure,) = raised(failed(), RunHistory(), [], Addresses({**wants, "all": ("alert",)}))
    assert sorted(failure.deliveries) == ["boss", "desk", "ops"]


def test_the_same_cause_is_notified_once_whatever_the_numbers_in_it() -> None:
    data = {"kind": "DataError", "exit_code": 65}
    first = single_notice(failed("duplicate customer_id: 5, 7", **data))
    assert raised(failed("duplicate customer_id: 8, 9", run="run-10", **data), RunHistory(), [first], ALL) == []
    assert (
        single_notice(failed("no line is dated up to as_of 2024-01-01", run="run-10", **data), known=[first]).event
        == "failed"
    )
    over_now = closed(first, NOW.isoformat())
    assert over_now
    assert single_notice(failed("duplicate customer_id: 5, 7", run="run-11", **data), known=[over_now])


def test_a_service_that_fails_in_many_ways_is_one_event() -> None:
    first = single_notice(failed("no answer"))
    assert raised(failed("S3 refuses us", run="run-10"), RunHistory(), [first], ALL) == []
    lost, starved = (
        single_notice(failed(what, error_where="Ray")) for what in ("lost 3 tasks", "a worker ran out of memory")
    )
    assert lost.about != starved.about
    paths = {single_notice(failed("no space", error_where=f"/state/lines/{n}a1b.parquet")).about for n in range(3)}
    assert len(paths) == 1


def test_without_notices_of_recoveries_the_success_is_notified() -> None:
    wants = Addresses({"ops": ("failed", "recovered", "success"), "boss": ("success",)})
    notices = raised(report(), RunHistory(), [single_notice(failed())], wants)
    assert {notice.event: list(notice.deliveries) for notice in notices} == {"recovered": ["ops"], "success": ["boss"]}


def test_an_unknown_outcome_reports_that_the_marts_may_be_new() -> None:
    body = single_notice(failed(outcome="unknown")).body
    assert "the old ones or the new ones" in body
    assert "untouched" not in body


def drop(key: str, state: str = "held", delivery: str = "d1") -> DropReport:
    reason = Reason(rule="quantity is 0", rows=5, line=7, raw="4111 1111 1111 1111", example="0")
    fields: dict[str, Any] = {
        "kind": "sales",
        "key": key,
        "change": "new",
        "state": state,
        "reason": "too many bad rows",
    }
    return DropReport(**fields, delivery=delivery, reasons=(reason,))


def test_held_drops_are_notified_together_and_each_version_once() -> None:
    held = (drop("sales/a.csv"), drop("sales/b.csv", "rejected", "d2"))
    notice = single_notice(report(exit_code=65, drops=held, outcome="unchanged"))
    assert notice.subject == "Martwright: 2 drops are held or rejected"
    assert "Held:     sales/a.csv: too many bad rows" in notice.body
    assert "          5 x quantity is 0, as in line 7" in notice.body
    assert "4111" not in notice.body
    assert raised(report(drops=held), RunHistory(), [notice], ALL)[0].event == "success"
    third = (*held, drop("sales/c.csv", delivery="d3"))
    assert single_notice(report("run-10", drops=third, outcome="unchanged"), known=[notice]).about == ("drop:d3",)


def test_a_rejected_drop_cannot_be_accepted() -> None:
    body = single_notice(report(drops=(drop("sales/a.csv", "rejected"),), outcome="unchanged")).body
    assert "Deliver a corrected file" in body
    assert "accept" not in body


def test_a_hundred_held_drops_are_one_short_notice() -> None:
    held = tuple(drop(f"sales/{n}.csv", delivery=f"d{n}") for n in range(100))
    notice = single_notice(report(drops=held, outcome="unchanged"))
    assert "and 90 more" in notice.body
    assert len(notice.about) == 100
    assert len(notice.body) < 2500


def test_the_notice_of_a_failure_reports_held_drops_too() -> None:
    notice, held = raised(failed(drops=(drop("sales/a.csv"),)), RunHistory(), [], ALL)
    assert notice.event == "failed"
    assert "sales/a.csv" in notice.body
    assert held.deliveries == {}
    again = report("run-10", drops=(drop("sales/a.csv"),), outcome="unchanged")
    assert [raised_notice.event for raised_notice in raised(again, RunHistory(), [notice, held], ALL)] == ["recovered"]


def test_notices_of_held_drops_only_are_sent_although_builds_fail() -> None:
    wants = Addresses({"ops": ("failed", "held"), "data": ("held",)})
    _, held = raised(failed(drops=(drop("sales/a.csv"),)), RunHistory(), [], wants)
    assert list(held.deliveries) == ["data"]


def test_quality_that_holds_nothing_back_is_notified() -> None:
    rule = BrokenRule(rule="prices are sane", severity="critical", rows=100, unexpected=3, observed="")
    quality = QualityReport(name="sales", outcome="failed", rows=100, rules=1, broken=(rule,), page="p.html")
    notice = single_notice(report(quality=(quality,), outcome="unchanged"))
    assert notice.event == "quality"
    assert "sales: prices are sane (3 of 100 rows)" in notice.body
    again = report("run-10", quality=(quality,), outcome="unchanged")
    assert raised(again, RunHistory(), [notice], ALL) == []
    assert over(again, [notice]) == []
    assert over(report("run-11"), [notice]) == []  # nothing was judged
    better = quality.model_copy(update={"outcome": "passed", "broken": ()})
    assert over(report("run-12", quality=(better,)), [notice]) == [notice.notice_id]


def test_a_success_after_failures_is_notified_once_and_closes_them() -> None:
    failure = single_notice(failed())
    notice = single_notice(report(), known=[failure])
    assert notice.event == "recovered"
    assert "Was:      The build failed: S3 refuses us" in notice.body
    assert over(report(), [failure]) == [failure.notice_id]
    assert over(failed(), [failure]) == []


def test_a_held_drop_is_over_when_it_is_left_out_no_more() -> None:
    held = single_notice(report(drops=(drop("sales/a.csv"),), outcome="unchanged"))
    assert over(report(drops=(drop("sales/a.csv"),)), [held]) == []
    assert over(report(), [held]) == [held.notice_id]


def test_the_subject_names_the_pipeline_where_there_are_several() -> None:
    (notice,) = raised(failed(), RunHistory(), [], Addresses({"ops": ("failed",)}, pipeline="retail"))
    assert notice.subject == "Martwright (retail): The build failed: S3 refuses us"
    assert "Was:      The build failed: S3 refuses us" in single_notice(report(), known=[notice]).body


def test_a_good_run_of_one_mart_does_not_end_the_failure_of_the_other() -> None:
    customers, team = (replace(ALL, scope=scope) for scope in ("customers", "sales_team"))
    (failure,) = raised(failed(), RunHistory(), [], customers)
    assert [notice.event for notice in raised(report(outcome="unchanged"), RunHistory(), [failure], team)] == []
    assert over(report(), [failure], "sales_team") == []
    assert over(report(), [failure], "customers") == [failure.notice_id]


def test_only_events_that_were_asked_for_are_notified() -> None:
    assert raised(report(), RunHistory(), [], Addresses({"ops": ("failed",)})) == []
    assert raised(failed(), RunHistory(), [], Addresses({})) == []


@given(text=st.text(max_size=80))
def test_whatever_a_drop_is_called_the_subject_is_one_short_line(text: str) -> None:
    notice = single_notice(report(drops=(drop(f"sales/{text}@everyone<!here>.csv"),), outcome="unchanged"))
    assert notice.subject.isprintable()
    assert len(notice.subject) <= 160
    assert "<" not in notice.subject + notice.body
    assert "@everyone" not in notice.body
    assert all(line.isprintable() for line in notice.body.split("\n"))


def test_of_two_copies_of_a_notice_the_one_that_went_further_counts() -> None:
    notice = single_notice(failed())
    sent = replace(notice, deliveries={"ops": NoticeDelivery("sent")})
    for left, right in ((notice, sent), (sent, notice)):
        both = merged(left, right)
        assert both
        assert both.deliveries["ops"].state == "sent"
    assert merged(None, notice) == notice


def test_a_delivery_is_claimed_by_one_and_settled() -> None:
    notice = replace(single_notice(failed()), deliveries={"ops": NoticeDelivery()})
    taken = claimed(notice, "ops", NOW)
    assert taken
    assert claimed(taken, "ops", NOW) is None
    assert claimed(taken, "ops", NOW + timedelta(minutes=11))
    sent = settled(taken, "ops", NOW, "", timedelta(hours=72))
    assert sent
    assert (sent.deliveries["ops"].state, sent.deliveries["ops"].tries, sent.done) == ("sent", 1, False)
    assert claimed(sent, "ops", NOW) is None
    ended = closed(sent, "later")
    assert ended
    assert ended.done
    assert announced_topics([ended]) == set()
    assert Notice.of_json(ended.as_json()) == ended
