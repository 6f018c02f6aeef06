"""The columns of a pack's drops, tables and tables of numbers, as pack.toml writes them."""

import re
from collections.abc import Container, Iterable, Sequence
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from marts.pack import MartColumn, MartType, SourceColumn, SourceType
from marts.pack_numbers import NumberColumn
from marts.policy import nearest

_NAME = r"[a-z][a-z0-9_]{0,63}"
_TYPE = re.compile(r"(?P<type>[a-z_]+)(\((?P<length>[0-9]{1,5})\))?(?P<nullable>\?)?")
_DECIMALS = {4: "decimal4", 6: "decimal6"}
"""Types of decimals by the digits after the point."""
_NULL_IF, _STORED = "null if ", "stored as "
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]


class PackColumn(BaseModel):
    """``[name, type, help, flag…]``: a type may have a length, ``text(1000)``, and ``?`` if a value may be empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    type: str
    length: int = Field(255, ge=1, le=16_000)
    nullable: bool = False
    help: str
    flags: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, values: Any) -> Any:
        if not isinstance(values, list) or len(values) < 3 or not all(isinstance(item, str) for item in values):
            raise ValueError('a column is [name, type, meaning], such as ["title", "text(200)?", "name of the book"]')
        name, written, about, *flags = values
        parts = _TYPE.fullmatch(written)
        if not parts:
            raise ValueError(f"{name}: {written!r} is not a type, such as id, text(1000) or money?")
        length = {"length": int(parts["length"])} if parts["length"] else {}
        fields = {"name": name, "type": parts["type"], "nullable": bool(parts["nullable"])}
        return {**fields, **length, "help": about, "flags": tuple(flags)}

    def of_type(self, known: Sequence[str]) -> str:
        """Return the type. Raise ValueError if it is not known."""
        if self.type not in known:
            raise ValueError(f"{self.name}: {self.type!r} is not a type{nearest(self.type, known)}")
        return self.type

    def _typed(self, types: Any) -> str:
        """Return the type, of a drop or a mart. Raise ValueError if it is not known."""
        if self.of_type(_written(types)) != "decimal":
            return self.type
        if self.length not in _DECIMALS:
            raise ValueError(f"{self.name}: a decimal has 4 or 6 digits after the point: decimal(4)")
        return _DECIMALS[self.length]

    def other_flags(self, known: Sequence[str], begins: str = "") -> set[str]:
        """Return the flags. Raise ValueError for one that is not known."""
        for flag in self.flags:
            if flag not in known and not (begins and flag.startswith(begins)):
                raise ValueError(f"{self.name}: unknown flag {flag!r}{nearest(flag, known)}; known: {', '.join(known)}")
        return set(self.flags)

    def source(self) -> SourceColumn:
        flags = self.other_flags(("optional", "personal", "guests", "free text"), _STORED)
        stored = next((flag.removeprefix(_STORED) for flag in self.flags if flag.startswith(_STORED)), "")
        if stored and not re.fullmatch(_NAME, stored):
            raise ValueError(f"{self.name}: {stored!r} is not a name: letters a to z, digits and _")
        if "guests" in flags and self.type != "id":
            raise ValueError(f"{self.name}: guests is a flag of ids")
        if "free text" in flags and self.type != "text":
            raise ValueError(f"{self.name}: free text is a flag of texts")
        return SourceColumn(
            name=self.name,
            type=cast(SourceType, self._typed(SourceType)),
            help=self.help,
            mandatory="optional" not in flags,
            nullable=self.nullable,
            max_length=self.length,
            personal="personal" in flags,
            guests="guests" in flags,
            stored_as=stored,
            free_text="free text" in flags,
        )

    def mart(self) -> MartColumn:
        flags = self.other_flags(("personal",), _NULL_IF)
        reason = next((flag.removeprefix(_NULL_IF) for flag in self.flags if flag.startswith(_NULL_IF)), "")
        if self.nullable != bool(reason):
            raise ValueError(f'{self.name}: a column with ? says when it is NULL: "null if …"')
        type_ = cast(MartType, self._typed(MartType))
        return MartColumn(self.name, type_, self.help, reason, self.length, "personal" in flags)

    def number(self) -> NumberColumn:
        self.other_flags(())
        known = ("text", "count", "money", "flag", "date")
        type_ = cast(Literal["text", "count", "money", "flag", "date"], self.of_type(known))
        return NumberColumn(self.name, type_, self.help, self.nullable, self.length)


def _written(types: Any) -> tuple[str, ...]:
    """Return the types that a pack may name; of ids, a setting decides, and a decimal has its digits behind it."""
    return (*(name for name in get_args(types) if name not in ("text_id", *_DECIMALS.values())), "decimal")


def _unique(columns: tuple[PackColumn, ...]) -> tuple[PackColumn, ...]:
    names = [column.name for column in columns]
    if repeats := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"it names a column twice: {', '.join(repeats)}")
    return columns


Columns = Annotated[tuple[PackColumn, ...], AfterValidator(_unique)]


def require_columns(columns: Sequence[PackColumn], used: Iterable[tuple[str, str | None]]) -> None:
    """Raise ValueError for a setting, with the name that it has, if that is no column; empty names are not set."""
    names = [column.name for column in columns]
    for setting, name in used:
        if name and name not in names:
            raise ValueError(f"{setting} names {name!r}, which is no column of it{nearest(name, names)}")


def require_names(names: Iterable[str], reserved: Container[str], hint: str = "choose another name") -> None:
    """Raise ValueError for a name that SQL or the engine reserves."""
    if name := next((name for name in names if name in reserved), ""):
        raise ValueError(f"columns: {name!r} is reserved by SQL or the engine: {hint}")
