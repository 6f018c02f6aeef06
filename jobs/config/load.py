"""Read the settings: flags, then environment (MARTS_…), then marts.toml, then defaults."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from jobs.config.secret import SEALED, TARGET_PASSWORD, Secret, Vault, read_file
from jobs.config.settings import CONFIG_FILE, PREFIX, MySQL, Notify, Settings
from marts.errors import UsageError
from marts.policy import Policy, closest, explain, known_keys, read_policy


def load(config: str | None, flags: Mapping[str, Any], places: bool = True) -> Settings:
    """Read all settings. Put plain credentials into the environment of this process, which local workers share.

    Raise UsageError with the invalid key or value and the nearest valid key. Without ``places``, credentials are not
    looked up: the sealed file may be missing.
    """
    settings, values = read_settings(config, flags)
    if not places:
        return settings
    settings, variables = with_places(settings, values)
    os.environ.update(variables)
    return settings


def read_settings(config: str | None, flags: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Return the settings of flags, environment and file, and the values of the file."""
    where = config or os.environ.get(PREFIX + "CONFIG") or (CONFIG_FILE if Path(CONFIG_FILE).is_file() else "")
    _check_environment()
    values = _with_blocks(read_toml(where), where) if where else {}
    _refuse_plain(values, where)
    if isinstance(values.get("policy"), str):
        values["policy"] = str(Path(where).parent / values["policy"])
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**_merged(values, EnvSettingsSource(Settings)(), given)), values
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        elsewhere = {name for name in wrong if name in given or name not in values}
        (what,) = explain(error, Settings)
        raise UsageError(_BLOCK.sub(_number, what), "settings" if elsewhere else where) from error


_BLOCK = re.compile(r"\bsources\.([0-9]+)\.?")


def _number(match: re.Match[str]) -> str:
    """Name a block as it is written, counted from 1."""
    return f"[[source]] {int(match[1]) + 1}: "


def _with_blocks(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Move the [[source]] blocks of a settings file, and the location of the drops beside them, to their settings."""
    if "csv" in values:
        hint = 'write a block: [[source]] match = "**" delimiter = ";"'
        raise UsageError("[csv] is no longer a setting: [[source]] blocks say how files are read", where, hint)
    given, drops = values.get("source"), values.get("drops")
    location = drops.get("source") if isinstance(drops, Mapping) else None
    if location and isinstance(given, str):
        raise UsageError("source and drops.source are both set", where, "write one of them")
    blocks = {"sources": given} if isinstance(given, list) else {}
    others = {name: value for name, value in values.items() if name != "source" or not blocks}
    return {**others, **blocks, **({"source": location} if location else {})}


def _merged(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested values; later sources override earlier ones."""
    merged: dict[str, Any] = {}
    for source in sources:
        for name, value in source.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = _merged(merged[name], value) if both else value
    return merged


def load_policy(settings: Settings) -> Policy:
    """Read the policy file, or return the defaults."""
    values = read_toml(settings.policy) if settings.policy else {}
    return read_policy(values, settings.policy or "policy", settings.domain)


def read_toml(path: str) -> dict[str, Any]:
    """Read a TOML file. Raise UsageError if it cannot be read or is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "with [[source]] blocks, write the location of the drops as drops.source" if _takes_source(path) else ""
        raise UsageError(f"is not TOML: {error}", path, hint) from error


def _takes_source(path: str) -> bool:
    """Return whether a file has both the key ``source`` and [[source]] blocks, which TOML does not allow."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return bool(
        re.search(r"^\s*source\s*=", text, re.MULTILINE) and re.search(r"^\s*\[\[source\]\]", text, re.MULTILINE)
    )


def _check_environment() -> None:
    """Raise UsageError for unknown MARTS_… variables: a typo must not be silently ignored."""
    for variable in os.environ:
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        path = variable.removeprefix(PREFIX).lower().split("__")
        known: list[str] = []
        for depth, part in enumerate(path):
            if path[:depth] in _FREE_KEYS:
                break
            known = known_keys(Settings, tuple(path[:depth]))
            if part not in known:
                raise UsageError(*_unknown_variable(path, depth, known))


def _unknown_variable(path: list[str], depth: int, known: list[str]) -> tuple[str, str, str]:
    """Return the text, place and hint for a variable of which one part is not a setting."""
    match = closest(path[depth], known)
    names = [variable_of(*path[:depth], key) for key in known]
    above = variable_of(*path[:depth]) if depth else PREFIX
    hint = f"known: {', '.join(names)}" if names else f"{above} has no settings below it"
    if match:
        hint = f"did you mean {variable_of(*path[:depth], match, *path[depth + 1 :])}?"
    return "unknown environment variable", variable_of(*path), hint


_FREE_KEYS = (["notify", "to"], ["notify", "only"], ["marts"])
"""Settings below which users choose the names."""
CREDENTIALS = (
    *(("s3", "access_key"), ("s3", "secret_key"), ("s3", "session_token")),
    *(("mysql", "password"), ("pages", "token")),
)
"""Settings that are credentials. Their names in a sealed file: ``s3.secret_key``."""
ADDRESSES, HEARTBEAT = "notify.to.", "notify.heartbeat"
"""Names in a sealed file of the addresses of notices and of the heartbeat URL."""
_OPEN_FORMS = ("json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "syslog")
"""Schemes of apprise addresses that contain no credential, unless they contain a password."""
_PLATFORM = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Variables by which a platform gives its pods an identity in AWS."""


def vault_of(settings: Settings) -> Vault:
    """Return the sealed file of the settings, with absolute paths: every worker uses the same path."""
    secrets = settings.secrets
    passphrase = secrets.passphrase and Secret(f"env:{variable_of('secrets', 'passphrase')}")
    file, key_file = (str(Path(path).expanduser().absolute()) for path in (secrets.file, secrets.key_file))
    return Vault(file, key_file, passphrase)


def _refuse_plain(values: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for plain credentials in a settings file: these files are copied, mailed and committed."""
    for part, name in (*CREDENTIALS, ("secrets", "passphrase")):
        given = values.get(part, {}).get(name) if isinstance(values.get(part), dict) else None
        if isinstance(given, str) and given and (part == "secrets" or not given.startswith(SEALED)):
            hint = f"run `marts secrets set {part}.{name}`, or set {variable_of(part, name)}"
            raise UsageError("a settings file must not contain a credential", f"{where}: {part}.{name}", hint)
    _refuse_plain_addresses(values.get("notify"), where)
    tables = values.get("dimensions")
    for name, address in {"target": values.get("target"), **(tables if isinstance(tables, dict) else {})}.items():
        if isinstance(address, str) and "://" in address and _password(address) and SEALED not in _password(address):
            hint = "run `marts secrets set NAME` and write mysql://user:sealed:NAME@host:port/database"
            raise UsageError("a settings file must not contain a password", f"{where}: {name}", hint)


def _refuse_plain_addresses(notify: object, where: str) -> None:
    """Raise UsageError for addresses of notices that may contain a password or a token: only a few schemes do not."""
    given: dict[str, Any] = notify if isinstance(notify, dict) else {}
    addresses = given.get("to")
    for key, address in addresses.items() if isinstance(addresses, dict) else ():
        name = f"to.{key}"
        if not isinstance(address, str) or address.startswith(SEALED):
            continue
        if address.partition("://")[0] not in _OPEN_FORMS or _password(address) or "?" in address:
            hint = f"run `marts secrets set notify.{name}`, or set {variable_of('notify', *name.split('.'))}"
            raise UsageError("this address may contain a credential", f"{where}: notify.{name}", hint)
    heartbeat = given.get("heartbeat")
    if isinstance(heartbeat, str) and heartbeat and not heartbeat.startswith(SEALED):
        hint = f"run `marts secrets set {HEARTBEAT}`: anyone who knows the URL can report a build as successful"
        raise UsageError("a settings file must not contain a credential", f"{where}: {HEARTBEAT}", hint)


def with_places(settings: Settings, written: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Return settings with the place of each credential, and the variables that must contain plain ones.

    Order of the search: the sealed file, the platform, the environment.
    """
    variables: dict[str, str] = {}
    vault = vault_of(settings)
    names = _names(vault)
    results: dict[str, dict[str, Any]] = {part: {} for part, _ in CREDENTIALS}
    for part, name in CREDENTIALS:
        given: Secret | None = getattr(getattr(settings, part), name)
        if given and given.plain and isinstance(written.get(part), dict) and name in written[part]:
            given = Secret.of(written[part][name])  # a sealed value overrides the environment
        sealed_name = given.name if given and given.name else f"{part}.{name}"
        results[part][name] = _in_vault(vault, names, sealed_name, given) or _in_environment(
            given, variable_of(part, name), variables
        )
    if any(os.environ.get(name) for name in _PLATFORM) and not any(
        item and item.name for item in results["s3"].values()
    ):
        results["s3"] = dict.fromkeys(results["s3"])
    found_notify = _notify_places(settings.notify, vault, names)
    if settings.mysql.option_file and not (results["mysql"]["password"] or Secret()).name:
        results["mysql"]["password"] = Secret(f"option file:{Path(settings.mysql.option_file).expanduser().absolute()}")
    parts: dict[str, Any] = {name: getattr(settings, name).model_copy(update=results[name]) for name in results}
    parts["notify"] = settings.notify.model_copy(update=found_notify)
    if settings.target and settings.target.startswith("mysql:"):
        parts["target"], mysql = reach(settings.target, parts["mysql"], vault)
        parts["mysql"] = mysql.model_copy(
            update={"password": _in_environment(mysql.password, TARGET_PASSWORD, variables)}
        )
    return settings.model_copy(update=parts), variables


def _notify_places(notify: Notify, vault: Vault, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the place of each address of notices. Those sealed as notify.to.NAME need no setting."""
    sealed = {name.removeprefix(ADDRESSES): None for name in names if name.startswith(ADDRESSES)}
    to: dict[str, Secret] = {}
    for name, given in {**sealed, **notify.to}.items():
        wanted = given.name if given and given.name else f"{ADDRESSES}{name}"
        to[name] = _in_vault(vault, names, wanted, given) or given or Secret()
    unknown = sorted(set(notify.only) - set(to))
    if unknown:
        known = f"configured: {', '.join(to)}; " if to else ""
        known += f"`marts secrets set {ADDRESSES}{unknown[0]}` adds it, after `marts secrets init`"
        raise UsageError(f"notify.only names an unknown address: {unknown[0]}", "settings", known)
    given = notify.heartbeat
    wanted = given.name if given and given.name else HEARTBEAT
    return {"to": to, "heartbeat": _in_vault(vault, names, wanted, given) or given}


def _names(vault: Vault) -> tuple[str, ...]:
    """Return the names of the values of the sealed file; empty if it does not exist."""
    if not Path(vault.file).is_file():
        return ()
    from jobs.config import sealed

    return sealed.look(read_file(vault.file), vault.file).names


def _password(address: str) -> str:
    """Return the password in an address, or ""."""
    try:
        return unquote(urlsplit(address).password or "")
    except ValueError:
        return ""


def reach(address: str, settings: MySQL, vault: Vault) -> tuple[str, MySQL]:
    """Move the password, which may be ``sealed:NAME``, out of an address: addresses are shown, logged and sent."""
    written = _password(address)
    if not written:
        return address, settings
    parts = urlsplit(address)
    head, _, host = parts.netloc.rpartition("@")
    given = Secret.of(written)
    password = Secret(given.place, vault) if given.name else given
    bare = parts._replace(netloc=f"{head.partition(':')[0]}@{host}").geturl()
    return bare, settings.model_copy(update={"password": password})


def _in_vault(vault: Vault, names: tuple[str, ...], name: str, given: Secret | None) -> Secret | None:
    """Return a credential of the sealed file. Raise UsageError if the settings name one that it does not contain."""
    if name in names:
        return Secret(f"{SEALED}{name}", vault)
    if given is None or not given.name:
        return None
    near = difflib.get_close_matches(name, names, 1)
    known = f"did you mean {near[0]}?" if near else f"it contains {', '.join(names) or 'none'}"
    what = f"{vault.file} has no value {name!r}" if names else f"the sealed file {vault.file} does not exist"
    raise UsageError(what, given.place, f"`marts secrets set {name}` adds it; {known}")


def _in_environment(given: Secret | None, variable: str, variables: dict[str, str]) -> Secret | None:
    """Replace a plain credential with a reference to a variable, and add the variable to ``variables``."""
    if given is None or not given.plain:
        return given
    variables[variable] = given.plain
    return Secret(f"env:{variable}")


def variable_of(*path: str) -> str:
    """Return the name of the environment variable of a setting."""
    return f"{PREFIX}{'__'.join(path)}".upper()
