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
from typing import Annotated

import typer

from jobs.cli.options import Config, Json, opened, stamp
from jobs.config import sealed
from jobs.config.load import load, vault_of
from jobs.config.secret import Secret, Vault, open_vault, read_file
from jobs.config.settings import PREFIX, Settings
from jobs.operations import vault
from marts.errors import UsageError

app = typer.Typer(help="The sealed file of credentials: create, fill and share it.", no_args_is_help=True)

File = Annotated[str | None, typer.Option(help="The sealed file; secrets.file of the settings by default")]
KeyFile = Annotated[str | None, typer.Option("--key", help="Our private key; secrets.key_file by default")]
Name = Annotated[str, typer.Argument(help="Such as s3.secret_key or mysql.password, or any name of yours")]
_PASSPHRASE = f"{PREFIX}SECRETS__PASSPHRASE"


@app.command()
def keygen(
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Make a private key for this machine or person, and print its public half."""
    path = _vault(None, key, config, opens=False).key_file
    built = vault.write_key(path)
    typer.echo(f"wrote {path}; keep it, and give the public half to who may seal for you:", err=True)
    typer.echo(sealed.public_to_text(built.public))


@app.command()
def init(
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
    name: Annotated[str | None, typer.Option(help="Name of our key in the file; the user of this machine")] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Open it by a passphrase instead of a key")] = False,
) -> None:
    """Make an empty sealed file. Without a key file, one is made first."""
    where = _vault(file, key, config, opens=False)
    called = name or _user()
    if passphrase:
        recipient = sealed.passphrase_recipient(called, _asked(where, new=True))
    elif Path(where.key_file).exists():
        recipient = vault.recipient_of(where.key_file, called)
    else:
        recipient = replace(vault.write_key(where.key_file), name=called)
        typer.echo(f"wrote {where.key_file}: whoever has it can open the file", err=True)
    vault.create(where, (recipient,), _now())
    typer.echo(f"wrote {where.file}; next: marts secrets set s3.access_key, s3.secret_key, mysql.password", err=True)


@app.command(name="set")
def set_(name: Name, file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Seal one value: from standard input, or asked for. Never an argument: those are seen by all."""
    value = sys.stdin.read() if not sys.stdin.isatty() else _typed_twice(f"value of {name}: ")
    value = value.removesuffix("\n").removesuffix("\r")
    sealed.check_name(name)
    sealed.check_value(name, value)
    _change(_vault(file, key, config), f"sealed {name}", lambda held: vault.with_values(held, {name: value}))


@app.command()
def unset(name: Name, file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Remove one value."""
    _change(_vault(file, key, config), f"removed {name}", lambda held: vault.without_value(held, name))


@app.command(name="list")
def list_(
    file: File = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the names of the values in the file, its revision, and who can open it."""
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
    """Print one value, if you insist."""
    where = _vault(file, key, config)
    values = open_vault(where).values
    if name not in values:
        raise UsageError("there is no such value", name, f"there are {', '.join(values) or 'none'}")
    if reveal:
        typer.echo(values[name])
    else:
        typer.echo(f"{name} is there and can be opened; --reveal prints it", err=True)


@app.command()
def edit(file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Edit all values in your editor ($EDITOR), in memory; the sealed file is saved only if they are fine."""
    where = _vault(file, key, config)
    before = open_vault(where).values
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    after = vault.edited(before, editor)
    if after == before:
        typer.echo("nothing is changed", err=True)
        return
    _change(where, "saved", lambda held: vault.with_values(replace(held, values={}), after))


@app.command()
def verify(
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
    target: Annotated[str | None, typer.Option(help="Compare with what this target remembers")] = None,
) -> None:
    """Open every value, and say whether the file is whole and, with a target, the newest that was used."""
    where = _vault(file, key, config)
    held = open_vault(where)
    for name, value in held.values.items():
        sealed.check_value(name, value)
    typer.echo(f"{where.file} is whole: revision {held.revision}, {len(held.values)} values, all can be opened")
    settings = _settings(file, key, config, target)
    if settings.target:
        with opened(settings, read_only=True, create=True):
            pass  # it refuses an old copy
        typer.echo("it is no older than the target knows")


@app.command()
def trust(
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
    target: Annotated[str | None, typer.Option(help="Where it is remembered")] = None,
    why: Annotated[str, typer.Option(help="For the audit trail")] = "",
) -> None:
    """Let the target take this file for the right one: after it was made anew, or restored on purpose."""
    from jobs.adapters.warehouse.open import open_warehouse
    from jobs.operations import seal as seals

    settings = _settings(file, key, config, target)
    settings.require("target")
    with closing(open_warehouse(settings.target or "", settings.mysql)) as warehouse:
        seal = seals.trust(settings, warehouse, stamp(), getpass.getuser(), why)
    typer.echo(f"the target trusts {vault_of(settings).file} ({seal.file_id}) from revision {seal.revision} on")


@app.command()
def rotate(file: File = None, key: KeyFile = None, config: Config = None) -> None:
    """Put a new key in the place of ours, and seal every value again."""
    where = _vault(file, key, config)
    envelope = vault.rotate(where, _now())
    typer.echo(f"{where.key_file} is a new key, the old one is {where.key_file}.old", err=True)
    typer.echo(
        f"saved {where.file}, revision {envelope.revision}; copies of older revisions still open by the old key,"
    )
    typer.echo("so if that may be known to others, change the passwords themselves too, then remove it")


@app.command(name="add-key")
def add_key(
    name: Annotated[str, typer.Argument(help="How the key is called, such as the person or the machine")],
    public: Annotated[str | None, typer.Argument(help="x25519:…, as marts secrets keygen prints it")] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="A passphrase instead: it is asked for")] = False,
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Let one more key, or a passphrase, open the file."""
    where = _vault(file, key, config)
    if bool(public) == passphrase:
        raise UsageError(
            "a public key or --passphrase is needed", "add-key", "`marts secrets keygen` prints a public key"
        )
    if public:
        recipient = sealed.Recipient(name, sealed.public_from_text(public))
    else:
        recipient = sealed.passphrase_recipient(name, _typed_twice(f"passphrase {name}: "))
    _change(where, f"{name} opens it too", lambda held: vault.with_key(held, recipient))


@app.command(name="remove-key")
def remove_key(
    name: Annotated[str, typer.Argument(help="As `marts secrets list` names it")],
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Let a key open the file no more. What it has opened before, it knows: change those passwords."""
    _change(_vault(file, key, config), f"{name} opens it no more", lambda held: vault.without_key(held, name))


@app.command(name="import-plain")
def import_plain(
    plain: Annotated[Path, typer.Argument(metavar="FILE", help="Lines NAME=VALUE, such as a .env")],
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Seal all values of a .env file; known variables get the names that settings look for."""
    try:
        result = vault.read_plain(plain.read_text("utf-8"))
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text", str(plain)) from None
    _change(_vault(file, key, config), f"sealed {', '.join(result)}", lambda held: vault.with_values(held, result))
    typer.echo(f"now remove {plain}", err=True)


@app.command(name="export-k8s")
def export_k8s(
    name: Annotated[str, typer.Option(help="Of the Secret")] = "martwright",
    namespace: Annotated[str, typer.Option(help="Of the Secret; that of kubectl by default")] = "",
    file: File = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Print a Kubernetes Secret with the sealed file and our key, for `kubectl apply -f -`."""
    if sys.stdout.isatty():
        hint = "pipe it: marts secrets export-k8s | kubectl apply -f -"
        raise UsageError("it holds the private key, and is not printed on a terminal", "export-k8s", hint)
    typer.echo(vault.manifest(_vault(file, key, config), name, namespace), nl=False)


def _settings(
    file: str | None, key: str | None, config: str | None, target: str | None = None, places: bool = True
) -> Settings:
    """Read the settings, with another sealed file or key; without ``places`` the file need not be there, or whole."""
    given = {name: value for name, value in (("file", file), ("key_file", key)) if value}
    return load(config, {"target": target, "secrets": given or None}, places)


def _vault(file: str | None, key: str | None, config: str | None, opens: bool = True) -> Vault:
    """Return the sealed file. A passphrase is asked for if there is no key to open it by."""
    result = vault_of(_settings(file, key, config, places=False))
    if opens and not result.passphrase and not Path(result.key_file).exists() and _on_terminal():
        return replace(result, passphrase=Secret(plain=_asked(result)))
    return result


def _change(where: Vault, message: str, work: Callable[[sealed.Contents], sealed.Contents]) -> None:
    envelope = vault.change(where, _now(), work)
    typer.echo(f"{message}: {where.file}, revision {envelope.revision}", err=True)


def _asked(where: Vault, new: bool = False) -> str:
    if where.passphrase:
        return where.passphrase.reveal()
    return _typed_twice("passphrase: ") if new else getpass.getpass(f"passphrase of {where.file}: ")


def _typed_twice(prompt: str) -> str:
    """Ask for a value that is not shown, twice."""
    if not _on_terminal():
        raise UsageError("there is no terminal to ask on", prompt.rstrip(": "), f"for a passphrase, set {_PASSPHRASE}")
    first = getpass.getpass(prompt)
    if first != getpass.getpass("again: "):
        raise UsageError("the two are not the same; nothing is changed", prompt.rstrip(": "))
    return first


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _user() -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in getpass.getuser()).strip("-")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
