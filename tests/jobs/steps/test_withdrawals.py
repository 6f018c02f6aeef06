"""What was decided about vanished drops, and for how long it is good."""

import pytest
from support.retail import RETAIL

from jobs.ports.records import ASKED, KEPT, Decision, DropEvent, DropRecord
from jobs.steps.resolve import REPLACED
from jobs.steps.withdrawals import ACCEPT, ACCEPTED, LEFT, REFUSE, VANISHED, WAITING, withdrawals_of

SINCE = "2026-03-01T00:00:00+00:00"


def day(number: int) -> str:
    return f"2026-04-{number:02d}T00:00:00.000000+00:00"


def decision(action: str, at: str, delivery: str = "d1") -> Decision:
    return Decision(f"{at}-{delivery}", at, "ann", action, "sales", "sales/1.csv", delivery, "why", "")


def record(
    delivery: str = "d1", state: str = "live", reason: str = "", content: str = "c1", withdrawal: str = ""
) -> DropRecord:
    columns = ("sales", f"sales/{delivery}.csv", delivery, "etag", 10, day(1), state, reason, 10, 10, 0, 0, "run-1")
    return DropRecord(*columns, content, gone=withdrawal)


def withdrawn(at: str, reason: str, delivery: str = "d1", content: str = "c1") -> DropEvent:
    return DropEvent(**vars(record(delivery, "withdrawn", reason, content)), recorded_at=at)


def states(decisions: list[Decision], events: list[DropEvent], missing: DropRecord) -> str:
    live = [missing, *(record(f"other-{n}", content=f"other-{n}") for n in range(3))]
    withdrawals = withdrawals_of("ask", decisions, events, live, SINCE, RETAIL)
    return withdrawals.decide([missing])[missing.delivery_id][0]


def test_who_is_not_answered_keeps_the_drop() -> None:
    assert states([], [], record(reason=WAITING, withdrawal=ASKED)) == "missing"


def test_an_acceptance_takes_the_drop_back_once() -> None:
    accepted = [decision(ACCEPT, day(2))]
    assert states(accepted, [], record(reason=WAITING, withdrawal=ASKED)) == "withdrawn"
    again = [withdrawn(day(3), ACCEPTED)]
    assert states(accepted, again, record(reason=WAITING, withdrawal=ASKED)) == "missing"
    assert states([*accepted, decision(ACCEPT, day(4))], again, record(reason=WAITING, withdrawal=ASKED)) == "withdrawn"


@pytest.mark.parametrize(("withdrawal", "good"), [("", False), (ASKED, True), (KEPT, True)])
def test_an_acceptance_ends_when_the_object_comes_back(withdrawal: str, good: bool) -> None:
    event = DropEvent(**vars(record("d1", "live", withdrawal=withdrawal)), recorded_at=day(3))
    assert (
        states([decision(ACCEPT, day(2))], [event], record(reason=WAITING, withdrawal=ASKED)) == "withdrawn"
    ) == good


def test_an_acceptance_of_long_ago_is_asked_for_again() -> None:
    assert (
        states([decision(ACCEPT, "2026-02-28T00:00:00+00:00")], [], record(reason=WAITING, withdrawal=ASKED))
        == "missing"
    )


def test_the_last_word_counts_and_a_refusal_holds() -> None:
    decisions = [decision(ACCEPT, day(2)), decision(REFUSE, day(3))]
    assert states(decisions, [], record(reason=WAITING, withdrawal=ASKED)) == "live"
    assert (
        states([decision(REFUSE, "2026-01-01T00:00:00+00:00")], [], record(reason=WAITING, withdrawal=ASKED)) == "live"
    )


def came_back(at: str, state: str = "live", delivery: str = "d9", content: str = "c7") -> DropEvent:
    return DropEvent(**vars(record(delivery, state, "", content)), recorded_at=at)


def test_one_content_that_vanished_under_two_names_is_one_withdrawal() -> None:
    events = [withdrawn(day(2), VANISHED, "d7", "c7"), withdrawn(day(3), VANISHED, "d8", "c7")]
    assert withdrawals_of("ask", [], events, [], SINCE, RETAIL).recent == (1, 10)


@pytest.mark.parametrize(
    "later",
    [
        [came_back(day(3))],
        [came_back(day(3), "duplicate")],
        [came_back(day(3)), withdrawn(day(4), REPLACED, "d9", "c7")],
        [came_back(day(3)), withdrawn(day(4), "now delivered as sales/d10.csv", "d9", "c7")],
    ],
)
def test_what_vanished_and_came_back_is_no_withdrawal_whatever_its_outcome(later: list[DropEvent]) -> None:
    vanished = withdrawn(day(2), VANISHED, "d7", "c7")
    assert withdrawals_of("ask", [], [vanished, *later], [], SINCE, RETAIL).recent == (0, 0)
    again = withdrawn(day(5), VANISHED, "d9", "c7")
    assert withdrawals_of("ask", [], [vanished, *later, again], [], SINCE, RETAIL).recent == (1, 10)


def test_what_comes_back_and_is_held_and_a_copy_that_did_not_count_change_nothing() -> None:
    vanished = withdrawn(day(2), VANISHED, "d7", "c7")
    for later in (came_back(day(3), "held"), withdrawn(day(2), LEFT, "d8", "c7")):
        assert withdrawals_of("ask", [], [vanished, later], [], SINCE, RETAIL).recent == (1, 10)
