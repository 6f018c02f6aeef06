"""Values in Polars: text to typed columns, and whole cents to decimals."""

import polars as pl

DAY_FORMATS = ("%Y-%m-%d", "%Y%m%d")
PER_CENT = 100
"""Units per cent: amounts are parsed as whole numbers with four digits after the point."""


def whole(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64, strict=False)


def amount(name: str) -> pl.Expr:
    """Parse an amount as a whole number with four digits after the point."""
    return pl.col(name).cast(pl.Decimal(18, 4), strict=False).reinterpret(dtype=pl.Int128).cast(pl.Int64)


def cents_of(name: str) -> pl.Expr:
    return amount(name) // PER_CENT


def word(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars(" ").str.to_uppercase()


def day(name: str) -> pl.Expr:
    """Parse the day of a date or timestamp."""
    text = pl.col(name).str.slice(0, 10)
    return pl.coalesce(text.str.to_date(form, strict=False) for form in DAY_FORMATS)


def moment(name: str) -> pl.Expr:
    """Parse a time; the formats that are rare see only the texts that are not of the usual one."""
    text = pl.col(name)
    rest = pl.when((text.str.len_bytes() != 19) | (text.str.slice(10, 1) != "T")).then(text)
    with_offset = rest.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", time_zone="UTC", strict=False)
    return pl.coalesce(
        text.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False),
        *(rest.str.to_date(form, strict=False).cast(pl.Datetime("us")) for form in DAY_FORMATS),
        *(
            rest.str.to_datetime(form, time_unit="us", strict=False)
            for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f")
        ),
        with_offset.dt.replace_time_zone(None),
    )


def half_up(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """Divide whole numbers and round once, ties away from zero; NULL unless the divisor is positive."""
    return pl.when(b > 0).then((2 * a + a.sign() * b).truncdiv(2 * b))


def money(cents: str | pl.Expr, digits: int = 18) -> pl.Expr:
    """Convert whole cents to a decimal by reinterpreting the bits."""
    column = pl.col(cents) if isinstance(cents, str) else cents
    return column.cast(pl.Int128).reinterpret(dtype=pl.Decimal(digits, 2))


def version_key(key: pl.Expr, since: pl.Expr) -> pl.Expr:
    return (key.cast(pl.Int128) * 10**8 + key_of(since)).reinterpret(dtype=pl.Decimal(38, 0))


def key_of(column: pl.Expr) -> pl.Expr:
    """Return a day as yyyymmdd."""
    year, month = column.dt.year().cast(pl.Int64), column.dt.month().cast(pl.Int64)
    return year * 10_000 + month * 100 + column.dt.day().cast(pl.Int64)


def month_number(column: pl.Expr) -> pl.Expr:
    return column.dt.year().cast(pl.Int64) * 12 + column.dt.month()
