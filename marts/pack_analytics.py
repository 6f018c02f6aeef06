"""The part ``[analytics]`` of pack.toml: it adds the tables and business numbers of customer analytics to a pack."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from pydantic import BaseModel, ConfigDict

from marts.pack import IDS, Kind, SourceColumn
from marts.pack_columns import Name
from marts.pack_drops import PackDrop
from marts.policy import nearest

GROUP = "analytics"
"""Table of the policy file that has the numbers."""
_PARTS = ("worth.sql",)
"""SQL that is part of others."""


class Analytics(BaseModel):
    """What a pack calls the columns of the fact that analytics looks at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fact: Name
    customer: Name
    place: Name
    seller: Name
    amount: Name
    quantity: Name | None = None
    """What is above 0 in a purchase, and below in a return: the amount by default."""
    channel: Name | None = None
    measure: Name

    def words(self, fact: Kind) -> dict[str, str]:
        """Return what stands for each name in the SQL and the tables of analytics. Raise ValueError."""
        columns = {name: self._column(fact, name) for name in ("customer", "place", "seller", "amount")}
        for name in ("customer", "place", "seller"):
            if columns[name].type not in IDS:
                raise ValueError(f"analytics.{name}: {columns[name].name} is of type {columns[name].type}, but not id")
        if columns["amount"].type not in ("money", "amount"):
            raise ValueError(f"analytics.amount: {self.amount} is no money")
        channel = "'unknown'"
        if self.channel:
            text = self._column(fact, "channel")
            channel = f"coalesce(nullif(trim({text.clean_name}), ''), 'unknown')"
        return {
            **{name: columns[name].clean_name for name in ("customer", "place", "seller")},
            "fact": fact.name,
            "at": fact.at,
            "cents": columns["amount"].clean_name,
            "channel": channel,
            "bought": f"{self._column(fact, 'quantity' if self.quantity else 'amount').clean_name} > 0",
            "place_word": self.place.removesuffix("_id"),
            "seller_word": self.seller.removesuffix("_id"),
            "measure": self.measure,
        }

    def _column(self, fact: Kind, setting: str) -> SourceColumn:
        name = getattr(self, setting)
        known = [column.name for column in fact.columns]
        if name not in known:
            raise ValueError(f"analytics.{setting}: {name!r} is no column of {fact.name}{nearest(name, known)}")
        return fact.column(name)


def with_analytics(
    values: dict[str, Any], sql: Mapping[str, str]
) -> tuple[dict[str, Any], Mapping[str, str], frozenset[str]]:
    """Return the content of a pack.toml, and its SQL texts by file name, with what its part ``[analytics]`` adds.

    Return also the names of the tables of analytics that no other table reads. Raise ValueError or ValidationError.
    """
    if GROUP not in values:
        return values, sql, frozenset()
    part = Analytics.model_validate(values[GROUP])
    drops = values.get("drops", {})
    facts = [name for name, drop in drops.items() if drop.get("at")]
    if part.fact not in facts:
        raise ValueError(f"analytics.fact: {part.fact!r} is no fact{nearest(part.fact, facts)}")
    words = part.words(PackDrop.model_validate(drops[part.fact]).kind(part.fact, None, {}, sql))
    shipped, texts = _shipped()
    words["worth"] = Template(texts["worth.sql"]).substitute(words)
    added = tomllib.loads(Template(shipped).substitute(words))
    tables = dict(values.get("tables", {}))
    published = {name: table[GROUP] for name, table in tables.items() if isinstance(table, dict) and GROUP in table}
    tables |= {name: _published(name, tables[name], wanted, added["published"]) for name, wanted in published.items()}
    if both := sorted(tables.keys() & added["tables"].keys()):
        raise ValueError(f"tables: {both[0]!r} is a table of [analytics]: choose another name")
    own = {key: dict(values.get(key, {})) for key in ("policy", "policy_tables")}
    for key, numbers in own.items():
        numbers |= {f"{GROUP}_{name}": {**number, "group": GROUP} for name, number in added[key].items()}
    filled = {f"{GROUP}/{name}": Template(text).substitute(words) for name, text in texts.items() if name not in _PARTS}
    every = {**added["tables"], **tables}
    own_tables = {*added["tables"], *published}
    needed = [name for table in every.keys() - own_tables for name in _read_by(every[table])]
    for name in needed:  # it grows
        needed += [other for other in _read_by(every.get(name, {})) if other not in needed]
    return {**values, "tables": every, **own}, {**sql, **filled}, frozenset(own_tables - {*needed})


def _read_by(table: Any) -> list[str]:
    """Return what a table of pack.toml reads."""
    settings = table if isinstance(table, dict) else {}
    return [name for key in ("reads", "columns_of", "lookback") for name in settings.get(key, ())]


def _published(name: str, table: dict[str, Any], wanted: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table that a pack publishes, with the settings of the one of analytics that it names."""
    if wanted not in known:
        raise ValueError(f"tables.{name}.{GROUP}: {wanted!r} is none of {', '.join(known)}{nearest(wanted, known)}")
    own = {key: value for key, value in table.items() if key != GROUP}
    if both := sorted(own.keys() & known[wanted].keys()):
        raise ValueError(f'tables.{name}.{both[0]} is a setting of {GROUP} = "{wanted}": leave it out')
    return {**own, **known[wanted]}


@cache
def _shipped() -> tuple[str, dict[str, str]]:
    """Return the tables of analytics, and their SQL by file name."""
    folder = files("marts.analytics")
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.joinpath("sql").iterdir()}
    return folder.joinpath("tables.toml").read_text(encoding="utf-8"), texts
