"""Shared by all pages: rendering of templates and formatting of numbers. No script, no address."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from jobs.runtime.escaping import visible

_MARKS = {"passed": "\N{CHECK MARK}", "warned": "!", "failed": "\N{BALLOT X}"}
MINUS = "\N{MINUS SIGN}"


def rendered(template: str, **values: Any) -> str:
    """Render a template: text is escaped, and characters without a glyph are made visible."""
    return _templates().get_template(template).render(**values)


def compile_templates() -> None:
    """Compile the templates of reports; those of Great Expectations are for its own process."""
    for name in _templates().list_templates(filter_func=lambda name: name.endswith(".j2") and "/" not in name):
        _templates().get_template(name)


def number(value: int | Decimal) -> str:
    """Write an exact number with thousands separators."""
    return f"{value:,}".replace("-", MINUS)


def counted(value: int, thing: str) -> str:
    """Write a count with its noun."""
    return f"{number(value)} {thing}{'' if value == 1 else 's'}"


def decimal(value: str | None) -> Decimal | None:
    """Read an exact number of a report; no value stays none."""
    return None if value is None else Decimal(value)


def money(value: Decimal | None) -> str:
    """Write an amount with two decimals."""
    return "" if value is None else f"{value:,.2f}".replace("-", MINUS)


def percent(value: Decimal | None) -> str:
    """Write a percentage."""
    return "" if value is None else f"{value:,.2f} %".replace("-", MINUS)


def growth(value: Decimal | None) -> str:
    """Write a percentage with its sign."""
    return "" if value is None else f"{value:+,.2f} %".replace("-", MINUS)


def when(value: datetime) -> str:
    """Write a time in UTC, to the minute."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _templates() -> Environment:
    return environment("jobs.report")


@cache
def environment(*packages: str) -> Environment:
    """Return the templates of some packages, those of the first one before others of the same name."""
    built = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_seen,
    )
    built.filters |= {item.__name__: item for item in (number, counted, decimal, money, percent, growth, when)}
    built.globals |= {"marks": _MARKS}
    return built


def _seen(value: Any) -> Any:
    """Make characters without a glyph visible; leave HTML unchanged."""
    return visible(value) if type(value) is str else value
