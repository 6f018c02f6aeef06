"""Columns and secondary indexes of marts in MySQL."""

import hashlib

from jobs.adapters.warehouse.mysql_session import CHARSET
from marts.pack import DECIMALS, Mart, MartColumn

INDEX = "marts_by_"
"""Beginning of the names of secondary indexes."""
_LONGEST_NAME, _LONGEST_TEXT = 64, 191
"""Characters of a name, and of a text in an index: of longer texts the index has the beginning."""


def indexes_of(mart: Mart) -> dict[str, str]:
    """Return the secondary indexes of a mart: the columns by name. Readers see one generation, so it comes first."""
    lengths = {c.name: c.max_length for c in mart.columns if c.type in ("text", "text_id")}
    indexes = {}
    for columns in mart.indexes:
        parts = [f"{n}({_LONGEST_TEXT})" if lengths.get(n, 0) > _LONGEST_TEXT else n for n in columns]
        name = f"{INDEX}{'_'.join(columns)}"
        if len(name) > _LONGEST_NAME:
            name = f"{INDEX}{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        indexes[name] = ", ".join(["generation", *parts])
    return indexes


def column_of(mart: Mart, column: MartColumn) -> str:
    """Return the definition of a column. Texts of a key are compared byte by byte: A and a are two rows."""
    is_exact = column.type == "text_id" or (column.type == "text" and column.name in mart.key)
    null = "NULL" if column.nullable else "NOT NULL"
    return f"{column.name} {_type(column)}{f' COLLATE {CHARSET}_bin' if is_exact else ''} {null}"


def _type(column: MartColumn) -> str:
    match column.type:
        case "id" | "count":
            return "BIGINT"
        case "text_id" | "text":
            return f"VARCHAR({column.max_length})"
        case "month":
            return "CHAR(7) CHARACTER SET ascii COLLATE ascii_bin"
        case "money" | "rate" | "percent" | "decimal4" | "decimal6" | "version":
            return "DECIMAL({},{})".format(*DECIMALS[column.type])
        case "date":
            return "DATE"
        case "time":
            return "DATETIME(6)"
        case "flag":
            return "BOOLEAN"
