"""How the items of a step are shared out among tasks."""

import pytest

from jobs.adapters.cluster import share_out


@pytest.mark.parametrize("count", [0, 1, 2, 3, 24, 1000])
@pytest.mark.parametrize("slots", [1, 2, 64])
def test_each_item_is_in_one_share_and_in_its_order(count: int, slots: int) -> None:
    assert [item for share in share_out(count, slots) for item in share] == list(range(count))


def test_shares_are_large_first_and_single_items_at_last() -> None:
    assert [len(share) for share in share_out(24, 2)] == [6, 4, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1]


def test_nothing_waits_while_a_slot_is_free() -> None:
    assert [len(share) for share in share_out(4, 2)] == [1, 1, 1, 1]
    assert {len(share) for share in share_out(60, 32)} == {1}


def test_a_share_is_bounded_for_a_task_that_is_lost_is_done_again_as_a_whole() -> None:
    assert max(len(share) for share in share_out(100_000, 2)) == 8
