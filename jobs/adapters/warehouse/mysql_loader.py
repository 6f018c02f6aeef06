"""Load rows into a table of MySQL or MariaDB, by LOAD DATA from a spooled file or by INSERT."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mysql.connector
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from jobs.adapters.warehouse.mysql_session import CHARSET, Session
from marts.errors import Defect, ServiceError

_INSERT_ROWS, _INSERT_BYTES = 10_000, 1 << 20
"""Maximum rows and bytes of one INSERT; the limit of the server also applies."""
_PACKET_HEAD = 1 << 10
"""Bytes of a packet reserved for the statement around the rows."""
_LOCAL_INFILE_OFF = {-1, 1148, 2068, 3948, 4166}
"""Errors of servers that no longer allow LOAD DATA LOCAL, although they did; the driver's own has no number."""
_ESCAPES = (("\\", "\\\\"), ("'", "''"), ("\0", "\\0"))
"""Escapes of a quoted text, for the charset and sql_mode of a session."""


class LocalInfileOff(Exception):
    """The server does not allow LOAD DATA LOCAL."""


@dataclass(frozen=True)
class Loader:
    """Loads rows into a table, inside the transaction of the caller."""

    session: Session
    table: str
    numbers: Mapping[str, int]
    """Columns before those of the rows, with the value that all rows have in them."""
    columns: Sequence[str]

    def load_file(self, rows: pa.Table, folder: Path) -> None:
        """Spool the rows to a private file for LOAD DATA: several times faster than INSERT. Raise LocalInfileOff."""
        path = folder / f"{self.table}-{os.getpid()}-{time.monotonic_ns()}.csv"
        try:
            # All texts are quoted, so that an unquoted NULL is never a name.
            options = pacsv.WriteOptions(include_header=False, quoting_style="needed", null_string="NULL")
            pacsv.write_csv(_without_empty_chunks(_plain_flags(rows)), path, options)
        except OSError as error:
            hint = "the live marts are untouched; free some space, then run again"
            raise ServiceError(f"cannot spool rows: {error}", str(path), hint) from error
        numbers = ", ".join(f"{name} = {value:d}" for name, value in self.numbers.items())

        def load(cursor: Any) -> None:
            try:
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{path}' REPLACE INTO TABLE {self.table} CHARACTER SET {CHARSET} "
                    "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
                    f"({', '.join(self.columns)}) SET {numbers}"
                )
            except mysql.connector.Error as error:
                if error.errno in _LOCAL_INFILE_OFF:
                    raise LocalInfileOff from error
                raise
            if cursor.warning_count:
                cursor.execute("SHOW WARNINGS LIMIT 3")
                raise Defect(f"the database changed values while loading: {cursor.fetchall()}", self.session.where)

        try:
            self.session.with_cursor(load)
        finally:
            path.unlink(missing_ok=True)

    def load_inserts(self, rows: pa.Table) -> None:
        """Load the rows by INSERT statements of many rows."""
        head = f"REPLACE INTO {self.table} ({', '.join([*self.numbers, *self.columns])}) VALUES "
        most = min(_INSERT_BYTES, self.session.limits.max_allowed_packet - _PACKET_HEAD - len(head))
        for batch in rows.to_batches(max_chunksize=_INSERT_ROWS):
            literals = _literals(_plain_flags(pa.Table.from_batches([batch])), self.numbers.values())
            for part in _cut(literals, most):
                self.session.execute(head + ",".join(part))


def _plain_flags(rows: pa.Table) -> pa.Table:
    """Convert flags to 0 and 1."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_boolean(field.type):
            rows = rows.set_column(index, field.name, rows[field.name].cast(pa.int8()))
    return rows


def _without_empty_chunks(rows: pa.Table) -> pa.Table:
    """Return rows whose first chunk has some: of an empty first one, Arrow writes the bytes of an unused buffer."""
    return pa.Table.from_batches([batch for batch in rows.to_batches() if batch.num_rows], rows.schema)


def _literals(rows: pa.Table, numbers: Iterable[int]) -> pa.Array:
    """Format each row as a SQL tuple after some numbers, with the closing parenthesis missing."""
    columns = [_literal(column) for column in rows.columns]
    return pc.binary_join_element_wise(f"({','.join(map(str, numbers))}", *columns, ",")


def _literal(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Format the values of a column as SQL literals: plain numbers and flags, quoted texts and days, NULL."""
    text = pc.cast(column, pa.string())
    if not any(plain(column.type) for plain in (pa.types.is_integer, pa.types.is_decimal, pa.types.is_boolean)):
        for item, two in _ESCAPES:
            text = pc.replace_substring(text, item, two)
        text = pc.binary_join_element_wise("'", text, "'", "")
    return pc.fill_null(text, "NULL")


def _cut(rows: pa.ChunkedArray, most: int) -> Iterator[list[str]]:
    """Split rows into parts of at most ``most`` bytes, at least one row each, and close their parentheses."""
    ends = np.cumsum(pc.binary_length(rows).to_numpy() + len("),"))
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, "right")))
        yield [f"{row})" for row in rows.slice(start, stop - start).to_pylist()]
        start = stop
