"""A short campaign: one fault of each kind, in builds as users start them, while readers poll."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.oracle_drops import content_of

from faults import proxy
from faults.campaign import Campaign
from faults.effort import LONG, some
from faults.proxy import Fault
from faults.world import POLICY, Reader, World, frozen

SEED = 4


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with tempfile.TemporaryDirectory(prefix="faults-", dir="/tmp") as folder, World(Path(folder), SEED) as world:
        new_campaign = Campaign(world)
        new_campaign.world.begin()
        new_campaign.settle()
        yield new_campaign


@pytest.fixture(autouse=True)
def _readers(campaign: Campaign) -> Iterator[None]:
    """Readers poll during each test; after it, nothing was lost, doubled or torn."""
    readers = [Reader(campaign.world, snapshot) for snapshot in (False, True)]
    yield
    for reader in readers:
        reader.stop()
    assert [reader.torn for reader in readers] == [[], []]
    assert [reader.older for reader in readers] == [[], []]
    assert min(reader.checks for reader in readers) > 50
    assert campaign.result.fine, campaign.result


@pytest.mark.parametrize(
    ("strike", "step", "end"),
    some(
        [
            ("driver killed", "scan", -9),
            ("driver killed", "load", -9),
            ("driver asked to stop", "roll up", 75),
            ("worker killed", "scan", 0),
            ("S3 server killed", "scan", None),
            ("raylet killed", "roll up", None),
            ("driver frozen", "load", None),
            ("database killed", "load", 0),
            ("a second build", "plan", None),
        ],
        4,
    ),
)
def test_a_build_that_is_struck_loses_nothing(campaign: Campaign, strike: str, step: str, end: int | None) -> None:
    campaign.world.change("new")  # rows are sure to be loaded
    campaign.last = None
    before = campaign.result.faults[strike]
    campaign.attempt(None, None, strike, step)
    assert campaign.result.faults[strike] == before + 1
    if end is not None:
        assert campaign.ended in (campaign.world.ends if end == 0 else {end}), campaign.output
    campaign.settle()


@pytest.mark.parametrize(
    "make",
    some(
        [
            lambda: (proxy.publish_not_answered(True), None),
            lambda: (proxy.publish_not_answered(False), None),
            lambda: (None, proxy.answered("S3 answers 503", proxy.SLOW_DOWN, 5, 4)),
            lambda: (proxy.stall(6, 4000), proxy.body_cut(20_000)),
        ],
        4,
    ),
)
def test_a_connection_that_fails_for_a_while_fails_no_build(
    campaign: Campaign, make: Callable[[], tuple[Fault | None, Fault | None]]
) -> None:
    campaign.world.change()
    faults = make()
    campaign.attempt(*faults)
    assert all(fault.struck for fault in faults if fault)
    assert campaign.ended in campaign.world.ends, campaign.output
    campaign.settle()


def test_a_drop_that_is_replaced_while_it_is_read_is_counted_once_in_its_new_version(campaign: Campaign) -> None:
    campaign.world.change("new")
    fault = campaign.overwrite(new=True)
    campaign.attempt(None, fault)
    assert fault.struck
    assert campaign.ended == 0, campaign.output
    lost_or_doubled = campaign.world.compare()
    assert lost_or_doubled == (0, 0)


@pytest.mark.skipif(not LONG, reason="make faults runs it; test_publish.py has the same without a cluster")
def test_a_build_that_was_frozen_while_another_published_is_fenced_off(campaign: Campaign) -> None:
    world = campaign.world
    world.change()
    late = world.build()
    while not any('"step": "load"' in text for text in late.text):
        assert late.process.poll() is None, "".join(late.text)
        time.sleep(0.01)
    with frozen(late.process.pid, 0):
        other = world.build()
        assert other.wait() in world.ends, "".join(other.text)
        assert world.compare() == (0, 0)
    assert late.wait() == 75, "".join(late.text)
    assert "has taken over since this run began" in "".join(late.text)
    assert world.compare() == (0, 0)


@pytest.mark.skipif(not LONG, reason="make faults runs it; tests/jobs has the same without a cluster")
def test_a_total_that_falls_is_published_once_somebody_accepts_it(campaign: Campaign) -> None:
    world = campaign.world
    policy = world.folder / "policy.toml"
    policy.write_text(POLICY.replace("max_fall = 1", "max_fall = 0.05\nmax_fall_from = 1"))
    try:
        world.put(largest(world), world.new_drop(5, 6))
        stopped = world.build()
        assert stopped.wait() == 65, "".join(stopped.text)
        assert world.compare() == (0, 0), "the live marts are untouched"
        world.command("accept-fall", stopped.run_id, "--why", "the drop was wrong")
        world.expect()
        accepted = world.build()
        assert accepted.wait() == 0, "".join(accepted.text)
        assert world.compare() == (0, 0)
    finally:
        policy.write_text(POLICY)


_MORE_CHANGES = (
    ("moved", [0]),
    ("saved again", [0]),
    ("withdrawn", [65]),
    ("withdrawal accepted", [0]),
    ("withdrawn", [65, 0]),
    ("withdrawal refused", [0]),
)


@pytest.mark.skipif(not LONG, reason="make faults runs it; test_deliveries.py has many more, in one process")
def test_drops_that_are_gone_or_come_again_count_as_they_should_and_people_are_asked_once(campaign: Campaign) -> None:
    world = campaign.world
    for what, ends in (
        ("emptied", [65]),
        ("put back", [0]),
        *_MORE_CHANGES,
    ):
        world.change(what, largest(world))
        for end in ends:
            build = world.build()
            assert (what, build.wait()) == (what, end), "".join(build.text)
            assert world.compare() == (0, 0), what


def largest(world: World) -> str:
    """Return the key of the drop with most lines that no other has, too."""
    contents = {key: content_of(drop.clean.encode()) for key, drop in world.drops.items()}
    held = Counter(contents.values())
    alone = [key for key, content in contents.items() if held[content] == 1]
    return max(alone, key=lambda key: len(world.drops[key].data), default="")
