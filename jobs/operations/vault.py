"""The sealed file on disk: create it, change it, export it."""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shlex
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.config import sealed
from jobs.config.load import CREDENTIALS, variable_of
from jobs.config.secret import Vault, open_vault, read_file, read_key
from jobs.config.settings import PREFIX
from marts.errors import UsageError

_PLACES = {variable_of(part, name): f"{part}.{name}" for part, name in CREDENTIALS} | {
    "AWS_ACCESS_KEY_ID": "s3.access_key",
    "AWS_SECRET_ACCESS_KEY": "s3.secret_key",
    "AWS_SESSION_TOKEN": "s3.session_token",
    "MYSQL_PWD": "mysql.password",
}
"""Names in a sealed file, by environment variable."""
_NOTIFY = f"{PREFIX}NOTIFY__"


def write_key(path: str) -> sealed.Recipient:
    """Create a private key in a file that only its owner can read. Raise UsageError if the file exists."""
    key = sealed.make_key()
    with _to_write(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(path, sealed.key_to_text(key))
    return sealed.Recipient("", key.public_key())


def recipient_of(path: str, name: str) -> sealed.Recipient:
    """Return the public half of a key file."""
    return sealed.Recipient(name, read_key(path).public_key())


def create(vault: Vault, recipients: tuple[sealed.Recipient, ...], now: str) -> None:
    """Create an empty sealed file. Raise UsageError if it exists."""
    for item in recipients:
        sealed.check_name(item.name)
    data = sealed.seal(sealed.new_contents(recipients), now)
    with _to_write(vault.file):
        Path(vault.file).parent.mkdir(parents=True, exist_ok=True)
        _write_new(vault.file, data)


def change(vault: Vault, now: str, work: Callable[[sealed.Contents], sealed.Contents]) -> sealed.Envelope:
    """Open a sealed file, change its contents and save it atomically; concurrent changes wait for each other."""
    with _locked(vault.file):
        return _save(vault, now, work(open_vault(vault)))


def _save(vault: Vault, now: str, contents: sealed.Contents) -> sealed.Envelope:
    """Save a locked file atomically."""
    data = sealed.seal(contents, now)
    path = Path(vault.file).resolve()  # replace the target of a link, not the link
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with _to_write(str(partial)):
        try:
            _write_new(str(partial), data, path.stat().st_mode & 0o777)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return sealed.look(data, vault.file)


def with_values(contents: sealed.Contents, values: Mapping[str, str]) -> sealed.Contents:
    """Add or replace values. Raise UsageError for an invalid name or value."""
    for name, value in values.items():
        sealed.check_name(name)
        sealed.check_value(name, value)
    return replace(contents, values={**contents.values, **values})


def without_value(contents: sealed.Contents, name: str) -> sealed.Contents:
    """Remove a value. Raise UsageError if it does not exist."""
    if name not in contents.values:
        hint = f"it contains {', '.join(contents.values) or 'none'}"
        raise UsageError("the sealed file has no such value", name, hint)
    return replace(contents, values={key: value for key, value in contents.values.items() if key != name})


def with_key(contents: sealed.Contents, recipient: sealed.Recipient) -> sealed.Contents:
    """Add a key that can open the file. Raise UsageError if its name is taken."""
    sealed.check_name(recipient.name)
    if recipient.name in {item.name for item in contents.recipients}:
        raise UsageError("a key of this name exists", recipient.name, "remove it first or choose another name")
    return replace(contents, recipients=(*contents.recipients, recipient))


def without_key(contents: sealed.Contents, name: str) -> sealed.Contents:
    """Remove a key from the next revision on. Raise UsageError for the last one."""
    names = [item.name for item in contents.recipients]
    if name not in names:
        raise UsageError("the sealed file has no such key", name, f"its keys are {', '.join(names)}")
    if len(names) == 1:
        raise UsageError("is the last key that can open the file", name, "add another key first")
    return replace(contents, recipients=tuple(item for item in contents.recipients if item.name != name))


def rotate(vault: Vault, now: str) -> sealed.Envelope:
    """Replace the key on disk and in the file with a new one; the old key is kept as ``….old``.

    A killed rotation is completed by the next: at any moment the key file or ``….new`` opens the file.
    """
    new = Path(f"{vault.key_file}.new")
    with _locked(vault.file):
        existing = sealed.look(read_file(vault.file), vault.file)
        if not (new.exists() and _opens(existing, str(new))):
            new.unlink(missing_ok=True)
            existing = _with_new_key(vault, now, existing, str(new))
        with _to_write(vault.key_file):
            Path(vault.key_file).replace(f"{vault.key_file}.old")
            new.replace(vault.key_file)
    return existing


def _with_new_key(vault: Vault, now: str, existing: sealed.Envelope, new: str) -> sealed.Envelope:
    """Create a new key and save the file for it instead of the current one."""
    if not _opens(existing, vault.key_file):
        hint = "`marts secrets list` lists the keys that can"
        raise UsageError("this key cannot open the sealed file", vault.key_file, hint)
    held, own = open_vault(vault), _public(vault.key_file)
    built = write_key(new)
    recipients = (replace(built, name=r.name) if sealed.public_to_text(r.public) == own else r for r in held.recipients)
    return _save(vault, now, replace(held, recipients=tuple(recipients)))


def _opens(envelope: sealed.Envelope, key_file: str) -> bool:
    return _public(key_file) in {sealed.public_to_text(item.public) for item in envelope.recipients}


def _public(key_file: str) -> str:
    return sealed.public_to_text(read_key(key_file).public_key())


def read_plain(text: str) -> dict[str, str]:
    """Parse NAME=VALUE lines as a shell or Docker would; known variables get the names that settings look for."""
    results: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip().removeprefix("export ").strip()
        if not words or words.startswith("#"):
            continue
        name, equals, value = words.partition("=")
        if not equals:
            raise UsageError("is not NAME=VALUE", f"line {number}", "remove it or comment it out with #")
        if value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1:
            value = value[1:-1]
        if value:
            results[_place_of(name.strip())] = value
    return results


def _place_of(variable: str) -> str:
    if variable.startswith(_NOTIFY):
        return variable.removeprefix(PREFIX).lower().replace("__", ".")
    return _PLACES.get(variable, variable)


def edited(values: Mapping[str, str], editor: str) -> dict[str, str]:
    """Edit all values as TOML in an editor, in a file in memory that is removed afterwards."""
    memory = "/dev/shm"  # noqa: S108 - a private folder is created in it
    with tempfile.TemporaryDirectory(prefix="marts-", dir=memory if Path(memory).is_dir() else None) as folder:
        path = Path(folder) / "credentials.toml"
        path.touch(0o600)
        path.write_text("".join(f"{json.dumps(n)} = {_toml(v)}\n" for n, v in sorted(values.items())), "utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)  # noqa: S603 - the user's own editor
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            raise UsageError("the editor failed; nothing was changed", editor, "set EDITOR") from error
        try:
            result = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            # The parser's message would show the line.
            raise UsageError(
                "is not valid TOML; nothing was changed", "the edited text", 'write "name" = "value"'
            ) from None
    wrong = [name for name, value in result.items() if not isinstance(value, str)]
    if wrong:
        raise UsageError("is not text; nothing was changed", wrong[0], 'write "name" = "value", with both in quotes')
    return result


def manifest(vault: Vault, name: str, namespace: str) -> str:
    """Return the manifest of a Kubernetes Secret with the sealed file and the key that opens it."""
    contents = {"credentials.json": read_file(vault.file)}
    open_vault(vault)
    if Path(vault.key_file).is_file():
        contents["key.pem"] = sealed.key_to_text(read_key(vault.key_file))
        contents["auth_token"] = _token_of(contents["key.pem"])
    if vault.passphrase:
        contents["passphrase"] = vault.passphrase.reveal().encode()
    data = "".join(f"  {key}: {base64.b64encode(value).decode()}\n" for key, value in contents.items())
    where = f"  namespace: {json.dumps(namespace)}\n" if namespace else ""
    return f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: {json.dumps(name)}\n{where}type: Opaque\ndata:\n{data}"


def _token_of(key: bytes) -> bytes:
    """Derive the token of Ray clusters from the key: always the same, so that running clusters still accept it."""
    return hashlib.blake2b(key, person=b"ray auth token").hexdigest().encode()


def _write_new(path: str, data: bytes, mode: int = 0o600) -> None:
    """Create a file that must not exist yet; its permissions never exceed ``mode``."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Lock a file and those beside it against concurrent changes, by their folder: each save replaces the file."""
    with _to_write(path):
        folder = os.open(Path(path).resolve(strict=True).parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


@contextlib.contextmanager
def _to_write(path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise UsageError("already exists", path, "choose another or remove it first") from error
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        hint = "run `marts secrets init` first" if is_missing else "check the folder and its permissions"
        raise UsageError(f"cannot be written: {error.strerror}", path, hint) from error


def _toml(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
