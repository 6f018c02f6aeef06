"""How the items of a step are shared out among tasks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.adapters.ray.cluster import local_environment
from jobs.adapters.ray.tasks import share_out
from jobs.state.manifest import Delivery
from jobs.steps.scan import full_tasks, pack
from jobs.steps.split import Split


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


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 200), max_size=300), most=st.integers(4, 100))
def test_drops_are_packed_large_ones_first_and_little_at_last(sizes: list[int], most: int) -> None:
    drops = [Delivery(kind="sales", key=f"{n}", size=size, etag="e", modified="m") for n, size in enumerate(sizes)]
    packs = pack([Split(drop, 0) for drop in drops], most)
    packed = [split.delivery.size for splits in packs for split in splits]
    assert packed == sorted(sizes, reverse=True)
    assert {split.delivery.key for splits in packs for split in splits} == {drop.key for drop in drops}
    for number, splits in enumerate(packs):
        held = sum(split.delivery.size for split in splits)
        left = sum(split.delivery.size for splits in packs[number:] for split in splits)
        assert len(splits) == 1 or held <= min(most, max(left // 4, most // 4))


@pytest.mark.parametrize(("cpus", "workers"), [(1, "8"), (4, "8"), (32, "64")])
def test_a_local_cluster_keeps_twice_as_many_workers_as_the_machine_has_cpus(cpus: int, workers: str) -> None:
    assert local_environment(cpus)["RAY_num_workers_soft_limit"] == workers


@pytest.mark.parametrize(("name", "size", "many", "full"), [("a.csv", 500, 45, 22.5), ("a.csv.gz", 500, 2, 6.0)])
def test_the_work_of_small_drops_is_counted_in_full_tasks(name: str, size: int, many: int, full: float) -> None:
    drop = Delivery(kind="sales", key=name, etag="e", size=size, modified="2024-01-01")
    assert full_tasks([Split(drop, 0)] * many, 1000) == full
