"""Open a target by its address."""

from jobs.config.settings import MySQL
from jobs.ports.warehouse import Warehouse
from marts.errors import UsageError
from marts.pack import Pack


def open_warehouse(
    uri: str, settings: MySQL, pack: Pack, read_only: bool = False, wait: float = 0, create: bool = True
) -> Warehouse:
    """Open a target by its address; wait up to ``wait`` seconds for a file that another process has open.

    Raises UsageError for a file that does not exist, unless it may be created.
    """
    if uri.startswith("duckdb:"):
        from jobs.adapters.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(uri, pack, read_only, wait, create)
    if uri.startswith("mysql:"):
        from jobs.adapters.warehouse.mysql import MySQLWarehouse

        return MySQLWarehouse(uri, settings, pack)
    raise UsageError(
        f"{uri.partition(':')[0]!r} is not a supported target",
        "--target",
        "write duckdb:///path/file.duckdb or mysql://user@host:port/database",
    )
