"""Polars: the drops are streamed into frames in memory; money is whole cents in Int64, squares are Int128.

All tables are computed, the usual limit with the whole square root of Python's integers. Drops that break the rules of
a whole drop, and settings of a source, are not handled.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from bench.engines.contract import Order, main


@contextmanager
def ready(order: Order) -> Iterator[ModuleType]:
    """Import Polars after setting its number of threads: it starts them on import."""
    os.environ["POLARS_MAX_THREADS"] = str(order.cores)
    yield importlib.import_module("bench.banking.polars_tables")


def job(order: Order, tables: Any) -> None:
    tables.write(order)


if __name__ == "__main__":
    main(job, ready)
