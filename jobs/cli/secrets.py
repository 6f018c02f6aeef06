"""`marts secrets …`: the sealed file of credentials."""

import getpass
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Config, Json, opened, stamp
from marts.errors import UsageError

if TYPE_CHECKING:
    from jobs.config import sealed
    from jobs.config.secret import Vault
    from jobs.config.settings import Settings

app = typer.Typer(help="Create, fill and share the sealed file of credentials.", no_args_is_help=True)

File = Annotated[str | None, typer.Option(help="Sealed file; setting secrets.file by default")]
KeyFile = Annotated[str | None, typer.Option("--key", help="Private key file; setting secrets.key_file by default")]
Name = Annotated[str, typer.Argument(help="Name: s3.secret_key, mysql.password, or any other")]
_VARIABLE = "MARTS_SECRETS__PASSPHRASE"


@app.command()
def keygen(
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Create a private key for this machine or person and print its public key."""
    from jobs.config import sealed
    from jobs.operations import vault

    path = _vault(None, key, config, opens=False).key_file
    built = vault.write_key(path)
    typer.echo(f"wrote {path}; keep it private and send the public key to a person who can add keys:", err=True)
    typer.echo(sealed.public_to_text(built.public))


@app.command()
def init(
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
    name: Annotated[str | None, typer.Option(help="Name of the key in the file; the current user by default")] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Use a passphrase instead of a key")] = False,
) -> None:
    """Create an empty sealed file. Create a key file first if none exists."""
    from jobs.config import sealed
    from jobs.operations import vault

    where = _vault(file, key, config, opens=False)
    called = name or _user()
    if passphrase:
        recipient = sealed.passphrase_recipient(called, _asked(where, new=True))
    elif Path(where.key_file).exists():
        recipient = vault.recipient_of(where.key_file, called)
    else:
        recipient = replace(vault.write_key(where.key_file), name=called)
        typer.echo(f"wrote {where.key_file}: anyone with this key can open the sealed file", err=True)
    vault.create(where, (recipient,), _now())
    typer.echo(
        f"wrote {where.file}; next: marts secrets set NAME, for builds s3.access_key, s3.secret_key and "
        "mysql.password, for `marts serve` mysql.password and pages.token",
        err=True,
    )


@app.command(name="set")
def set_(name: Name, file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Seal one value, read from standard input or a prompt. Values are never arguments: other users can see those."""
    from jobs.config import sealed
    from jobs.operations import vault

    value = sys.stdin.read() if not sys.stdin.isatty() else _typed_twice(f"value of {name}: ")
    value = value.removesuffix("\n").removesuffix("\r")
    sealed.check_name(name)
    sealed.check_value(name, value)
    _change(_vault(file, key, config), f"sealed {name}", lambda held: vault.with_values(held, {name: value}))


@app.command()
def unset(name: Name, file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Remove one value."""
    from jobs.operations import vault

    _change(_vault(file, key, config), f"removed {name}", lambda held: vault.without_value(held, name))


@app.command(name="list")
def list_(
    file: File = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the names of the values in the file, its revision and the keys that open it."""
    from jobs.config import sealed
    from jobs.config.secret import read_file

    where = _vault(file, None, config, opens=False)
    result = sealed.look(read_file(where.file), where.file)
    keys = {item.name: item.kind if item.salt else sealed.public_to_text(item.public) for item in result.recipients}
    if as_json:
        announced = {"file": where.file, "id": result.id, "revision": result.revision, "saved_at": result.saved_at}
        typer.echo(json.dumps({**announced, "values": result.names, "keys": keys}, indent=2))
        return
    typer.echo(f"{where.file}: revision {result.revision}, saved {result.saved_at[:19]} UTC")
    typer.echo("values  " + (", ".join(result.names) or "none yet"))
    for name, public in keys.items():
        typer.echo(f"opened by {name}  {'a passphrase' if public == 'scrypt' else public}")


@app.command()
def show(
    name: Name,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print the value")] = False,
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Check that one value can be opened; print it with --reveal."""
    from jobs.config.secret import open_vault

    where = _vault(file, key, config)
    values = open_vault(where).values
    if name not in values:
        raise UsageError("the sealed file has no such value", name, f"it contains {', '.join(values) or 'none'}")
    if reveal:
        typer.echo(values[name])
    else:
        typer.echo(f"{name} exists and can be opened; --reveal prints it", err=True)


@app.command()
def edit(file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Edit all values in your editor ($EDITOR), in memory. The sealed file is saved only if they are valid."""
    from jobs.config.secret import open_vault
    from jobs.operations import vault

    where = _vault(file, key, config)
    before = open_vault(where).values
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    after = vault.edited(before, editor)
    if after == before:
        typer.echo("nothing was changed", err=True)
        return
    _change(where, "saved", lambda held: vault.with_values(replace(held, values={}), after))


@app.command()
def verify(
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
    target: Annotated[str | None, typer.Option(help="Compare with the revision that this target recorded")] = None,
) -> None:
    """Open every value to check that the file is intact and, with a target, not older than the last one used."""
    from jobs.config import sealed
    from jobs.config.secret import open_vault

    where = _vault(file, key, config)
    held = open_vault(where)
    for name, value in held.values.items():
        sealed.check_value(name, value)
    typer.echo(f"{where.file} is intact: revision {held.revision}, {len(held.values)} values, all can be opened")
    settings = _settings(file, key, config, target)
    if settings.target:
        with opened(settings, read_only=True, create=True):
            pass  # raises UsageError for an old copy
        typer.echo("it is not older than the revision that the target recorded")


@app.command()
def trust(
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
    target: Annotated[str | None, typer.Option(help="Target that records the file")] = None,
    why: Annotated[str, typer.Option(help="For the audit trail")] = "",
) -> None:
    """Make the target accept this file after it was created again or restored on purpose."""
    from jobs.adapters.warehouse.open import open_warehouse
    from jobs.config.load import vault_of
    from jobs.operations import seal as seals

    settings = _settings(file, key, config, target)
    settings.require("target")
    with closing(open_warehouse(settings.target or "", settings.mysql, settings.domain)) as warehouse:
        seal = seals.trust(settings, warehouse, stamp(), getpass.getuser(), why)
    typer.echo(f"the target trusts {vault_of(settings).file} ({seal.file_id}) from revision {seal.revision} on")


@app.command()
def rotate(file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Replace the private key with a new one and seal every value again."""
    from jobs.operations import vault

    where = _vault(file, key, config)
    envelope = vault.rotate(where, _now())
    typer.echo(f"wrote a new key to {where.key_file}; the old key is {where.key_file}.old", err=True)
    typer.echo(f"saved {where.file}, revision {envelope.revision}; the old key still opens copies of older revisions:")
    typer.echo("if others may have the old key, change the passwords too; then delete it")


@app.command(name="add-key")
def add_key(
    name: Annotated[str, typer.Argument(help="Name of the key, such as the person or the machine")],
    public: Annotated[str | None, typer.Argument(help="x25519:…, as printed by marts secrets keygen")] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Prompt for a passphrase instead")] = False,
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Add a key or a passphrase that can open the file."""
    from jobs.config import sealed
    from jobs.operations import vault

    where = _vault(file, key, config)
    if bool(public) == passphrase:
        raise UsageError(
            "give either a public key or --passphrase", "add-key", "`marts secrets keygen` prints a public key"
        )
    if public:
        recipient = sealed.Recipient(name, sealed.public_from_text(public))
    else:
        recipient = sealed.passphrase_recipient(name, _typed_twice(f"passphrase {name}: "))
    _change(where, f"added {name}", lambda held: vault.with_key(held, recipient))


@app.command(name="remove-key")
def remove_key(
    name: Annotated[str, typer.Argument(help="Name of the key, as shown by `marts secrets list`")],
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Remove a key from the file. Its owner may know the values: change the passwords too."""
    from jobs.operations import vault

    _change(_vault(file, key, config), f"removed {name}", lambda held: vault.without_key(held, name))


@app.command(name="import-plain")
def import_plain(
    plain: Annotated[Path, typer.Argument(metavar="FILE", help="File of NAME=VALUE lines, such as a .env")],
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Seal all values of a .env file. Known variables are stored under the names that settings look for."""
    from jobs.operations import vault

    try:
        result = vault.read_plain(plain.read_text("utf-8"))
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text", str(plain)) from None
    _change(_vault(file, key, config), f"sealed {', '.join(result)}", lambda held: vault.with_values(held, result))
    typer.echo(f"now delete {plain}", err=True)


@app.command(name="export-k8s")
def export_k8s(
    name: Annotated[str, typer.Option(help="Name of the Secret")] = "martwright",
    namespace: Annotated[str, typer.Option(help="Namespace of the Secret; that of kubectl by default")] = "",
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Print a Kubernetes Secret with the sealed file and the private key, for `kubectl apply -f -`."""
    from jobs.operations import vault

    if sys.stdout.isatty():
        hint = "pipe it: marts secrets export-k8s | kubectl apply -f -"
        raise UsageError("the Secret contains the private key and is not printed to a terminal", "export-k8s", hint)
    typer.echo(vault.manifest(_vault(file, key, config), name, namespace), nl=False)


def _settings(
    file: str | None, key: str | None, config: str | None, target: str | None = None, places: bool = True
) -> "Settings":
    """Read the settings with another sealed file or key. Without ``places``, the file may be missing or damaged."""
    from jobs.config.load import load

    given = {name: value for name, value in (("file", file), ("key_file", key)) if value}
    return load(config, {"target": target, "secrets": given or None}, places)


def _vault(file: str | None, key: str | None, config: str | None, opens: bool = True) -> "Vault":
    """Return the sealed file. Prompt for a passphrase if no key file exists to open it."""
    from jobs.config.load import vault_of
    from jobs.config.secret import Secret

    result = vault_of(_settings(file, key, config, places=False))
    if opens and not result.passphrase and not Path(result.key_file).exists() and _on_terminal():
        return replace(result, passphrase=Secret(plain=_asked(result)))
    return result


def _change(where: "Vault", message: str, work: "Callable[[sealed.Contents], sealed.Contents]") -> None:
    from jobs.operations import vault

    envelope = vault.change(where, _now(), work)
    typer.echo(f"{message}: {where.file}, revision {envelope.revision}", err=True)


def _asked(where: "Vault", new: bool = False) -> str:
    if where.passphrase:
        return where.passphrase.reveal()
    return _typed_twice("passphrase: ") if new else getpass.getpass(f"passphrase of {where.file}: ")


def _typed_twice(prompt: str) -> str:
    """Prompt twice for a hidden value. Raise UsageError if the entries differ, or without a terminal."""
    if not _on_terminal():
        raise UsageError("cannot prompt without a terminal", prompt.rstrip(": "), f"for a passphrase, set {_VARIABLE}")
    first = getpass.getpass(prompt)
    if first != getpass.getpass("again: "):
        raise UsageError("the two entries differ; nothing was changed", prompt.rstrip(": "))
    return first


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _user() -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in getpass.getuser()).strip("-")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
