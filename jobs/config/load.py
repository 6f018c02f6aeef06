"""Read the settings: flags, then environment (MARTS_…), then marts.toml, then defaults."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from jobs.config.secret import SEALED, Secret, Vault, read_file
from jobs.config.settings import CONFIG_FILE, PREFIX, MySQL, Notify, Settings
from marts.errors import UsageError
from marts.policy import Policy, explain, known_keys, read_policy, unknown_key


def load(config: str | None, flags: Mapping[str, Any], places: bool = True) -> Settings:
    """Read all settings, and put plain credentials into the environment of this process, which local workers share.

    Raises UsageError that names a wrong key or value, and the nearest right key. Without ``places``, nobody looks for
    credentials: the sealed file need not be there.
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
    values = read_toml(where) if where else {}
    _refuse_plain(values, where)
    if isinstance(values.get("policy"), str):
        values["policy"] = str(Path(where).parent / values["policy"])
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**_merged(values, EnvSettingsSource(Settings)(), given)), values
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        elsewhere = {name for name in wrong if name in given or name not in values}
        raise UsageError(*explain(error, Settings), "settings" if elsewhere else where) from error


def _merged(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested values; those of later sources win."""
    merged: dict[str, Any] = {}
    for source in sources:
        for name, value in source.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = _merged(merged[name], value) if both else value
    return merged


def load_policy(settings: Settings) -> Policy:
    """Read the policy file, or take the defaults."""
    return read_policy(read_toml(settings.policy), settings.policy) if settings.policy else Policy()


def read_toml(path: str) -> dict[str, Any]:
    """Read a TOML file. Raises UsageError if it is not there or not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not TOML: {error}", path) from error


def _check_environment() -> None:
    """Refuse MARTS_… variables that mean nothing; a typo must not be silently ignored."""
    for variable in os.environ:
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        path = variable.removeprefix(PREFIX).lower().split("__")
        known: list[str] = []
        for depth, part in enumerate(path):
            if path[:depth] in _FREE_KEYS:
                break
            try:
                known = known_keys(Settings, tuple(path[:depth]))
            except (KeyError, StopIteration):
                known = []
            if part not in known:
                raise UsageError(unknown_key(variable, part, known or ["nothing below it"]), "environment")


_FREE_KEYS = (["notify", "to"], ["notify", "only"])
"""Below these, everybody chooses names."""
CREDENTIALS = (("s3", "access_key"), ("s3", "secret_key"), ("s3", "session_token"), ("mysql", "password"))
"""Settings that are credentials. A sealed file gives them by these names: ``s3.secret_key``."""
ADDRESSES, HEARTBEAT = "notify.to.", "notify.heartbeat"
"""What the addresses of notices, and the URL of the heartbeat, are called in a sealed file."""
TARGET_PASSWORD = "MARTWRIGHT_TARGET_PASSWORD"  # noqa: S105 - the name of a variable
"""Where a password that stands in the target's address is kept: it is for that database only."""
_OPEN_FORMS = ("json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "syslog")
"""Addresses of apprise that hold no credential, as long as they have no password."""
_PLATFORM = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Variables by which a platform gives its pods an identity in AWS."""


def vault_of(settings: Settings) -> Vault:
    """Return the sealed file of the settings; every worker finds it by the same path."""
    secrets = settings.secrets
    passphrase = secrets.passphrase and Secret(f"env:{variable_of('secrets', 'passphrase')}")
    file, key_file = (str(Path(path).expanduser().absolute()) for path in (secrets.file, secrets.key_file))
    return Vault(file, key_file, passphrase)


def _refuse_plain(values: Mapping[str, Any], where: str) -> None:
    """Refuse credentials that stand in a settings file: such files are copied, mailed and committed."""
    for part, name in (*CREDENTIALS, ("secrets", "passphrase")):
        given = values.get(part, {}).get(name) if isinstance(values.get(part), dict) else None
        if isinstance(given, str) and given and (part == "secrets" or not given.startswith(SEALED)):
            hint = f"run `marts secrets set {part}.{name}`, or set {variable_of(part, name)}"
            raise UsageError("a credential does not belong into a settings file", f"{where}: {part}.{name}", hint)
    _refuse_plain_addresses(values.get("notify"), where)
    tables = values.get("dimensions")
    for name, address in {"target": values.get("target"), **(tables if isinstance(tables, dict) else {})}.items():
        if isinstance(address, str) and "://" in address and _password(address) and SEALED not in _password(address):
            hint = "run `marts secrets set NAME`, and write mysql://user:sealed:NAME@host:port/database"
            raise UsageError("a password does not belong into a settings file", f"{where}: {name}", hint)


def _refuse_plain_addresses(notify: object, where: str) -> None:
    """Refuse addresses of notices with a password or a token: most have one, and only a few forms never do."""
    given: dict[str, Any] = notify if isinstance(notify, dict) else {}
    addresses = given.get("to")
    for key, address in addresses.items() if isinstance(addresses, dict) else ():
        name = f"to.{key}"
        if not isinstance(address, str) or address.startswith(SEALED):
            continue
        if address.partition("://")[0] not in _OPEN_FORMS or _password(address) or "?" in address:
            hint = f"run `marts secrets set notify.{name}`, or set {variable_of('notify', *name.split('.'))}"
            raise UsageError("this address may hold a credential", f"{where}: notify.{name}", hint)
    heartbeat = given.get("heartbeat")
    if isinstance(heartbeat, str) and heartbeat and not heartbeat.startswith(SEALED):
        hint = f"run `marts secrets set {HEARTBEAT}`: whoever knows it can say that a build was fine"
        raise UsageError("a credential does not belong into a settings file", f"{where}: {HEARTBEAT}", hint)


def with_places(settings: Settings, written: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Return settings that say where each credential is, and the variables that must hold plain ones.

    A credential is looked for in the sealed file, then with the platform, then in the environment.
    """
    variables: dict[str, str] = {}
    vault = vault_of(settings)
    names = _names(vault)
    results: dict[str, dict[str, Any]] = {"s3": {}, "mysql": {}}
    for part, name in CREDENTIALS:
        given: Secret | None = getattr(getattr(settings, part), name)
        if given and given.plain and isinstance(written.get(part), dict) and name in written[part]:
            given = Secret.of(written[part][name])  # what is sealed wins over the environment
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
    """Describe for each address of notices where it is. What is sealed as notify.to.NAME needs no setting."""
    sealed = {name.removeprefix(ADDRESSES): None for name in names if name.startswith(ADDRESSES)}
    to: dict[str, Secret] = {}
    for name, given in {**sealed, **notify.to}.items():
        wanted = given.name if given and given.name else f"{ADDRESSES}{name}"
        to[name] = _in_vault(vault, names, wanted, given) or given or Secret()
    unknown = sorted(set(notify.only) - set(to))
    if unknown:
        known = f"there is {', '.join(to)}" if to else "there is none"
        raise UsageError(f"notify.only names an address that nobody has: {unknown[0]}", "settings", known)
    given = notify.heartbeat
    wanted = given.name if given and given.name else HEARTBEAT
    return {"to": to, "heartbeat": _in_vault(vault, names, wanted, given) or given}


def _names(vault: Vault) -> tuple[str, ...]:
    """Return the names of the values of the sealed file, if it is there."""
    if not Path(vault.file).is_file():
        return ()
    from jobs.config import sealed

    return sealed.look(read_file(vault.file), vault.file).names


def _password(address: str) -> str:
    """Return the password in an address, if there is one."""
    try:
        return unquote(urlsplit(address).password or "")
    except ValueError:
        return ""


def reach(address: str, settings: MySQL, vault: Vault) -> tuple[str, MySQL]:
    """Take the password out of an address, for addresses are shown, logged, and travel. It may be ``sealed:NAME``."""
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
    """Find a credential in the sealed file. Raises UsageError if the settings name one that is not there."""
    if name in names:
        return Secret(f"{SEALED}{name}", vault)
    if given is None or not given.name:
        return None
    near = difflib.get_close_matches(name, names, 1)
    known = f"did you mean {near[0]}?" if near else f"it has {', '.join(names) or 'none'}"
    what = f"{vault.file} has no value {name!r}" if names else f"there is no sealed file {vault.file}"
    raise UsageError(what, given.place, f"`marts secrets set {name}` adds it; {known}")


def _in_environment(given: Secret | None, variable: str, variables: dict[str, str]) -> Secret | None:
    """Replace a plain credential by the variable that is to hold it, and add it to these."""
    if given is None or not given.plain:
        return given
    variables[variable] = given.plain
    return Secret(f"env:{variable}")


def variable_of(*path: str) -> str:
    """Return the name of the variable of the environment that a setting has."""
    return f"{PREFIX}{'__'.join(path)}".upper()
