"""What an earlier run settled is used again: the marks are those of a run that settles all lines."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
from support.kit import Place, marts
from support.months import DROPS, POLICY, day_of, delivered

ACCEPTED = dict(list(DROPS.items())[:4])
"""None of them looks like another, which would be held."""
BY_MONTH = POLICY.model_copy(update={"transaction_key": ("month",)})


def newest(place: Place) -> Path:
    """Return the folder of the last run."""
    chains = (place.folder / "state/settled").glob("*/*/chain-00.parquet")
    return max(chains, key=lambda path: path.stat().st_mtime_ns).parent


def marks(place: Place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in newest(place).glob("marks-*")}


def lines_read(place: Place) -> int:
    chains = [pq.read_table(path).to_pylist() for path in newest(place).glob("chain-*")]
    last = [[row["name"] for row in chain if row["is_hashes"]][-1] for chain in chains]
    return sum(pq.read_metadata(place.folder / "state" / path).num_rows for path in last)


def test_a_drop_settles_what_it_touches_as_all_lines_would(tmp_path: Path) -> None:
    place = delivered(tmp_path, ACCEPTED, together=False, policy=BY_MONTH)
    for number, more in enumerate([day_of(8, late=1), day_of(9, late=5, seed=3)]):
        place.put(f"sales/more {number}.csv", more)
        assert place.build().error is None
        settled, wanted = newest(place).name, marks(place)
        assert 0 < lines_read(place) <= more.count("\n")
        assert sum(pq.read_metadata(path).num_rows for path in newest(place).glob("marks-*"))
        kept = shutil.move(place.folder / "state/settled", tmp_path / f"kept {number}")
        assert place.build().error is None
        assert (newest(place).name, marks(place)) == (settled, wanted)
        assert lines_read(place) > more.count("\n")
        shutil.rmtree(place.folder / "state/settled")
        shutil.move(kept, place.folder / "state/settled")


def test_all_lines_are_settled_again_if_a_drop_is_withdrawn_or_a_file_is_lost(tmp_path: Path) -> None:
    place = delivered(tmp_path, ACCEPTED, together=False, policy=BY_MONTH, lines=240)
    (place.source / "sales/05.csv").unlink()
    place.put("sales/08.csv", day_of(8, late=5))
    assert place.build().error is None
    every = lines_read(place)
    for path in (place.folder / "state/settled").glob("*/hashes-*/*"):
        path.unlink()
    place.put("sales/09.csv", day_of(9, late=5))
    assert place.build().error is None
    assert lines_read(place) > every


def test_hashes_that_later_runs_need_are_no_waste(tmp_path: Path) -> None:
    place = delivered(tmp_path, ACCEPTED, together=False, policy=BY_MONTH, lines=240)
    policy, config = tmp_path / "policy.toml", tmp_path / "marts.toml"
    policy.write_text('max_unknown_ratio = 1\nequal_lines = "drop"\ntransaction_key = ["month"]\n')
    config.write_text('[limits]\nrollup_lines = 240\n[drops]\nwithdrawals = "apply"\n')
    marts("vacuum", *place.flags, "--config", str(config), "--policy", str(policy))
    place.put("sales/08.csv", day_of(8))
    assert place.build().error is None
    assert lines_read(place) <= day_of(8).count("\n")
