"""A credential in the settings: it stores the place of its value and returns the value only on request.

Only the place is pickled and so sent through Ray: the path of a sealed file and a name in it, an environment variable,
or an option file. The value is looked up in the process that needs it.
"""

import configparser
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from jobs.runtime.scrub import remember
from marts.errors import UsageError

if TYPE_CHECKING:
    from jobs.config import sealed

TARGET_PASSWORD = "MARTWRIGHT_TARGET_PASSWORD"  # noqa: S105 - the name of a variable
"""Variable for a password from the target's address: it is for that database only."""
SEALED = "sealed:"
_MODE = 0o600


@dataclass(frozen=True)
class Vault:
    """A sealed file and what opens it."""

    file: str
    key_file: str
    passphrase: "Secret | None" = None


@dataclass(frozen=True, repr=False)
class Secret:
    """A credential. Its text, JSON and pickle contain its place, never its value."""

    place: str = ""
    """``sealed:NAME``, ``env:VARIABLE`` or ``option file:PATH``; empty for a value that only this process has."""
    vault: Vault | None = None
    """The sealed file of ``sealed:NAME``."""
    plain: str = ""

    @classmethod
    def of(cls, given: object) -> Self:
        """Parse a setting: ``sealed:NAME`` or the value itself."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, str):
            raise ValueError("must be text, such as sealed:NAME")  # noqa: TRY004 - what pydantic expects
        return cls(given) if given.startswith(SEALED) else cls(plain=given)

    @property
    def name(self) -> str:
        """Name in the sealed file; empty for another place."""
        return self.place.removeprefix(SEALED) if self.place.startswith(SEALED) else ""

    def reveal(self) -> str:
        """Return the value. Raise UsageError if its place does not contain it."""
        value = self.plain or self._look_up()
        remember(value)
        return value

    def _look_up(self) -> str:
        kind, _, where = self.place.partition(":")
        if kind == "env":
            return _from_environment(where)
        if kind == "option file":
            return _from_option_file(where)
        if self.vault is None:
            raise UsageError("no sealed file is set", self.place, "set secrets.file or run `marts secrets init`")
        return from_sealed(self.vault, self.name)

    def __repr__(self) -> str:
        return f"Secret({self.place or '***'})"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return repr(self)

    def __reduce__(self) -> Any:
        if self.plain:
            hint = "seal it (`marts secrets set`) or set it in the environment of every node"
            raise UsageError("a plain-text credential is not sent to workers", "settings", hint)
        return Secret, (self.place, self.vault)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(repr)
        return core_schema.no_info_plain_validator_function(cls.of, serialization=written)


def from_sealed(vault: Vault, name: str) -> str:
    """Return one value of a sealed file. Raise UsageError if the value is missing or the file is rejected."""
    values = open_vault(vault).values
    if name not in values:
        raise UsageError(f"has no value {name!r}", vault.file, f"`marts secrets set {name}` adds it")
    return values[name]


def open_vault(vault: Vault) -> "sealed.Contents":
    """Open a sealed file. The result is cached until the file changes."""
    data = read_file(vault.file)
    return _opened(vault, data)


@lru_cache(maxsize=4)
def _opened(vault: Vault, data: bytes) -> "sealed.Contents":
    from jobs.config import sealed  # imported only by processes that open a file

    key = read_key(vault.key_file) if Path(vault.key_file).exists() else None
    passphrase = vault.passphrase.reveal() if vault.passphrase else None
    contents = sealed.unseal(data, vault.file, key, passphrase)
    for value in contents.values.values():
        remember(value)
    return contents


def read_file(path: str) -> bytes:
    """Read a sealed file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path, "`marts secrets init` creates one") from error


def read_key(path: str) -> Any:
    """Read a private key. Raise UsageError if other users can read it.

    A key that belongs to root and is mounted by Kubernetes may be readable for the pod's group, as Secrets are.
    """
    from jobs.config import sealed

    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            mounted = status.st_uid == 0 != os.geteuid() and not status.st_mode & 0o027
            if stat.S_IMODE(status.st_mode) & ~_MODE and not mounted:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise UsageError(f"other users can read this key ({mode}); rejected", path, f"chmod 600 {path}")
            return sealed.key_from_text(file.read(sealed.MAX_BYTES), path)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path, "`marts secrets keygen` creates one") from error


def _from_environment(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        hint = "a worker reads its own environment: seal the value or set the variable on every node"
        raise UsageError("is not set in this process", variable, hint)
    return value


def _from_option_file(path: str) -> str:
    """Read the password of a MySQL option file."""
    options = configparser.ConfigParser(allow_no_value=True, interpolation=None, strict=False)
    try:
        options.read_string(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path, "check mysql.option_file") from error
    except (configparser.Error, UnicodeDecodeError):
        # The parser's message shows the line, which may be the password.
        raise UsageError("is not an option file", path, "it needs [client] and password=…") from None
    for section in ("martwright", "client"):
        if options.has_section(section) and (result := options.get(section, "password", fallback=None)):
            return result.strip("\"'")
    raise UsageError("has no password", path, "it needs [client] and password=…")
