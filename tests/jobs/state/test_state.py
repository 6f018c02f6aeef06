"""The catalog remembers what was scanned; what cannot be read of it is scanned again."""

import gc
from pathlib import Path

from jobs.adapters.store.folder import Folder
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest


def manifest(number: int) -> Manifest:
    delivery = Delivery(kind="sales", key=f"sales/{number}.csv", etag="e", size=1, modified="2024-01-01")
    return Manifest(delivery=delivery, scan=f"scan{number}", rules="rules", rows_read=number)


def test_a_catalog_gives_what_others_have_added(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    first, second = Catalog(store), Catalog(store)
    first.add([manifest(1), manifest(2)])
    second.add([manifest(3)])
    assert {m.scan: m.rows_read for m in Catalog(store).everything()} == {"scan1": 1, "scan2": 2, "scan3": 3}


def test_a_damaged_object_takes_only_its_own_drops_with_it(tmp_path: Path) -> None:
    """And Python looks for garbage again, whatever was read."""
    store = Folder(str(tmp_path))
    catalog = Catalog(store)
    catalog.add([manifest(1)])
    catalog.add([manifest(2)])
    damaged = min((tmp_path / "catalog").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-5])
    assert [m.scan for m in Catalog(store).everything()] == ["scan2"]
    assert gc.isenabled()
