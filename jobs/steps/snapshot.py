"""Dimensions from a database table: a snapshot becomes a drop like any other."""

import hashlib
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from jobs.config.load import reach, vault_of
from jobs.config.secret import TARGET_PASSWORD
from jobs.config.settings import Settings, masked
from jobs.ports.store import ObjectVersion, Store
from jobs.state.manifest import TABLES
from marts.errors import DataError, UsageError
from marts.pack import Kind
from marts.privacy.erasure import Erased


def snapshot_tables(settings: Settings, state: Store, erased: Erased) -> Mapping[str, Sequence[ObjectVersion]]:
    """Read the dimensions that are tables, and store each as CSV in the state, named by its content.

    Rows of erased people are left out.
    """
    tables = settings.dimension_tables
    return {
        name: [_snapshot(settings.domain.kinds[name], where, settings, state, erased)] for name, where in tables.items()
    }


def _snapshot(kind: Kind, address: str, settings: Settings, state: Store, erased: Erased) -> ObjectVersion:
    from jobs.adapters.warehouse.mysql import MySQLWarehouse

    database, _, table = address.rpartition("/")
    if database.count("/") < 3 or not table:
        hint = "use mysql://user@host:port/database/table"
        raise UsageError(f"{masked(address)!r} contains no table", f"dimensions.{kind.name}", hint)
    mysql = settings.mysql
    if mysql.password and mysql.password.place == f"env:{TARGET_PASSWORD}" and database != settings.target:
        mysql = mysql.model_copy(update={"password": None})  # that password is for the target
    warehouse = MySQLWarehouse(*reach(database, mysql, vault_of(settings)), settings.domain)
    try:
        rows = warehouse.read_table(table, [column.name for column in kind.columns])
    finally:
        warehouse.close()
    missing = [column.name for column in kind.columns if column.mandatory and column.name not in rows.schema.names]
    if missing:
        raise DataError(f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}", masked(address))
    own = rows[kind.person].combine_chunks() if kind.person in rows.schema.names else None
    numbers = None if own is None else erased.numbers_of(own)
    rows = rows if numbers is None else rows.filter(pa.array(numbers == 0))
    data = _csv(rows)
    folder = f"{TABLES}{kind.name}"
    key = f"{folder}/{hashlib.sha256(data).hexdigest()[:20]}.csv"
    if not any(version.key == key for version in state.versions(folder)):
        state.put(key, data)
    return next(version for version in state.versions(folder) if version.key == key)


def _csv(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    order = [(name, "ascending") for name in rows.schema.names[:1]]
    pacsv.write_csv(rows.sort_by(order), sink)
    return sink.getvalue()
