"""Columns of marts in MySQL."""

from jobs.adapters.warehouse.mysql_session import CHARSET
from marts.pack import DECIMALS, Mart, MartColumn


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
