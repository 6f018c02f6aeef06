"""Write initial marts.toml and policy.toml files: every option, commented out, with its default."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.config.settings import CONFIG_FILE, Settings
from marts.errors import UsageError
from marts.pack import Pack
from marts.pack_numbers import NumberTable
from marts.policy import DEFAULT_RULE, policy_model
from marts.rows.source_block import SourceBlock

_HEAD = """\
# Settings of Martwright. Flags and MARTS_… variables override this file (nested ones: MARTS_S3__ENDPOINT).
# Every option is listed with its default, commented out.

target = "duckdb://marts.duckdb"
policy = "policy.toml"

"""
_LOCATION = """\
[drops]

# folder or s3://bucket/prefix
source = "./drops"
"""
_EXAMPLE_SOURCE = 'source = "./drops"'
_RULE = "total_cost_rule"
_BLOCK = """\
# How other files are read (docs/sources.md): as many blocks as needed, the first that matches an object holds.
# [[source]]
# match = "FOLDER/**"
"""
_POLICY_HEAD = """\
# The business numbers of the marts. Every option is listed with its default, commented out.

"""


def write(folder: Path, pack: Pack, name: str = "", source: str = "", blocks: str = "", rule: str = "") -> list[Path]:
    """Write marts.toml and policy.toml. Raise UsageError if one exists.

    ``name`` is the setting of the pack unless that is the default, ``source`` the source,
    ``blocks`` the [[source]] blocks that read its files, ``rule`` the total_cost_rule.
    """
    settings, policy = _HEAD + settings_text(pack), _POLICY_HEAD + policy_text(pack)
    if name:
        settings = settings.replace(f"# pack = {toml(Settings.model_fields['pack'].default)}", f"pack = {toml(name)}")
    if source:
        settings = settings.replace(_EXAMPLE_SOURCE, f"source = {toml(source)}")
    if rule:
        policy = policy.replace(f"# {_RULE} = {toml(DEFAULT_RULE)}", f"{_RULE} = {toml(rule)}")
    texts = {CONFIG_FILE: f"{settings}\n{blocks}" if blocks else settings, "policy.toml": policy}
    for name in texts:
        if (folder / name).exists():
            raise UsageError("already exists", str(folder / name), "remove it first or write to another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def settings_text(pack: Pack) -> str:
    """Return the settings that the head of the file does not set, as comments."""
    fields, examples = Settings.model_fields, {**_EXAMPLES, "mart": next(iter(pack.marts))}
    plain = {name: field for name, field in fields.items() if not isinstance(field.default, BaseModel)}
    lines = [_option(name, field, examples) for name, field in plain.items() if name not in _OWN]
    for name, field in fields.items():
        if isinstance(field.default, BaseModel):
            about = (type(field.default).__doc__ or "").splitlines()[0]
            lines.append(f"# {about}\n{_LOCATION}" if name == "drops" else f"# {about}\n# [{name}]\n")
            options = type(field.default).model_fields.items()
            lines += [_option(key, option) for key, option in options if (name, key) != ("drops", "source")]
    lines.append(_BLOCK)
    lines += [_option(key, option) for key, option in SourceBlock.model_fields.items() if key != "match"]
    return "\n".join(lines)


def policy_text(pack: Pack) -> str:
    """Return the defaults of the policy of a pack as comments."""
    groups = dict.fromkeys(number.group for number in pack.numbers if number.group)
    fields = policy_model(pack.numbers, pack.number_tables).model_fields
    lines = _numbers_text({name: field for name, field in fields.items() if name not in groups}, pack, "")
    for group in groups:
        model = fields[group].annotation
        assert model is not None
        lines += [f"# [{group}]\n", *_numbers_text(model.model_fields, pack, group)]
    return "\n".join(lines)


def _numbers_text(fields: Mapping[str, FieldInfo], pack: Pack, group: str) -> list[str]:
    """Return the options of the policy file, or of a table of it, and then the tables of numbers."""
    tables = [table for table in pack.number_tables if table.group == group]
    names = {table.key for table in tables}
    examples = {number.key: number.default for number in pack.numbers if number.group == group and number.same_as}
    lines = [_option(name, field, {**_EXAMPLES, **examples}) for name, field in fields.items() if name not in names]
    for table in tables:
        lines.append(f"# {table.help}\n")
        for row in fields[table.key].default or _examples(table):
            values = row.model_dump(exclude_none=True) if isinstance(row, BaseModel) else row
            entries = "".join(f"# {key} = {toml(value)}\n" for key, value in values.items())
            lines.append(f"# [[{'.'.join(filter(None, (group, table.key)))}]]\n{entries}")
    return lines


def _examples(table: NumberTable) -> list[dict[str, Any]]:
    """Return a row as an example for a table that has none by default."""
    examples = {"text": "…", "count": 1, "money": Decimal("1.00"), "flag": True, "date": date(2025, 12, 25)}
    return [{column.name: examples[column.type] for column in table.columns}]


_OWN = ("source", "target", "policy", "sources")
"""Settings that the head or the end of the file has."""
_EXAMPLES = {"state": "./state", "as_of": date(2025, 12, 31), "cpus": 2}
"""Example values of options that are unset by default."""


def _option(name: str, field: FieldInfo, examples: Mapping[str, Any] = _EXAMPLES) -> str:
    about = field.description or ""
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        about += f" ({', '.join(choices)})"
    value = examples[name] if field.default is None and name in examples else field.default
    if field.default is None:
        about += "; not set"
    return f"# {about}\n# {name} = {toml(value)}\n" if about else f"# {name} = {toml(value)}\n"


def toml(value: Any) -> str:
    """Return a value as TOML. A text with double quotes is written between single ones, as far as it can be."""
    match value:
        case None:
            return '""'
        case Mapping():
            return "{" + ", ".join(f"{toml(name)} = {toml(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return f"[{', '.join(map(toml, value))}]"
        case str() if '"' in value and "'" not in value and value.isprintable():
            return f"'{value}'"
        case str() | bool():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
