"""One class for all settings: flags, then environment (MARTS_…), then marts.toml, then defaults."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jobs.config.secret import SEALED, Secret, Vault, read_file
from marts.errors import UsageError
from marts.policy import Policy, explain, known_keys, read_policy, unknown_key

CONFIG_FILE = "marts.toml"
PREFIX = "MARTS_"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class S3(_Part):
    """How to reach s3:// addresses. Without keys, the platform's own are used (IRSA, role, profile)."""

    endpoint: str | None = Field(None, description="URL of MinIO, SeaweedFS, …; empty for AWS")
    region: str = Field("us-east-1", description="region")
    path_style: bool = Field(True, description="bucket in the path (MinIO, SeaweedFS), not in the host name")
    access_key: Secret | None = Field(None, description="access key, as sealed:NAME")
    secret_key: Secret | None = Field(None, description="secret key, as sealed:NAME")
    session_token: Secret | None = Field(None, description="session token, as sealed:NAME")
    connect_timeout: float = Field(10, gt=0, description="seconds")
    read_timeout: float = Field(60, gt=0, description="seconds")
    deadline: float = Field(60, gt=0, description="seconds; a request that fails for a while is tried again until then")


class MySQL(_Part):
    """How to reach mysql:// addresses."""

    password: Secret | None = Field(None, description="used when the address has none, as sealed:NAME")
    option_file: str | None = Field(None, description="MySQL's own, whose [client] password is used")
    ssl_ca: str | None = Field(None, description="CA file; asks for TLS with a verified certificate and host name")
    ssl_cert: str | None = Field(None, description="our own certificate, if the server asks for one")
    ssl_key: str | None = Field(None, description="key of our own certificate")
    connect_timeout: int = Field(10, gt=0, description="seconds")
    read_timeout: int = Field(600, gt=0, description="seconds that one statement may take")
    deadline: float = Field(60, gt=0, description="seconds; what fails for a while is tried again until then")
    lease: int = Field(90, ge=3, description="seconds after which a frozen build loses its lock")
    load_data: bool = Field(True, description="use LOAD DATA LOCAL where the server allows it")
    loaders: int = Field(2, ge=1, le=16, description="connections that load at the same time")

    @model_validator(mode="after")
    def _verified(self) -> Self:
        if (self.ssl_cert or self.ssl_key) and not self.ssl_ca:
            raise ValueError("ssl_cert needs ssl_ca, or anybody could be the server")
        return self


class Secrets(_Part):
    """The sealed file of credentials (docs/security.md)."""

    file: str = Field("secrets/credentials.json", description="the sealed file; used if it is there")
    key_file: str = Field(
        "~/.config/martwright/key.pem", description="the private key that opens it, readable for us alone"
    )
    passphrase: Secret | None = Field(None, description="opens it too; only by MARTS_SECRETS__PASSPHRASE")


class Csv(_Part):
    """How drops are written."""

    delimiter: str = Field(",", min_length=1, max_length=1, description="one character")

    @field_validator("delimiter")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value in '"\r\n\0' or not value.isascii():
            raise ValueError("the delimiter must be one ASCII character, not a quote or a line end")
        return value


class Drops(_Part):
    """What happens to drops."""

    withdrawals: Literal["ask", "apply", "keep"] = Field(
        "ask",
        description="a sales drop whose object is gone: ask above a few, take it back, or let it count on",
    )


class Limits(_Part):
    """Bounds that keep hostile or broken input from taking the machine."""

    max_inflated_bytes: int = Field(64 << 30, gt=0, description="of one gzip drop; more is rejected")
    split_bytes: int = Field(32 << 20, ge=1 << 10, description="share of an uncompressed drop that one task reads")
    rollup_lines: int = Field(1_000_000, ge=1, description="lines of a month that one task rolls up, about")
    settle_seconds: float = Field(
        2, ge=0, description="a file in a folder that was written to more recently may still be arriving: wait for it"
    )
    finish_rows: int = Field(300_000, ge=1, description="mart rows that one task finishes, about")


class Dimensions(_Part):
    """Where each dimension is: "drops", or a table as mysql://user@host:port/database/table."""

    customers: str = Field("drops", repr=False)
    stores: str = Field("drops", repr=False)
    sales_team: str = Field("drops", repr=False)
    products: str = Field("drops", repr=False)

    @property
    def tables(self) -> dict[str, str]:
        """The addresses of those that are tables, by name."""
        return {name: where for name, where in self.model_dump().items() if where != "drops"}

    @field_validator("*")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "drops" and not value.startswith("mysql://"):
            raise ValueError('"drops", or mysql://user@host:port/database/table')
        return value


class Quality(_Part):
    """What Great Expectations does. Rules about rows and drops hold in any case."""

    judge: bool = Field(True, description="let it judge drops and staged marts, and write pages")


Event = Literal["failed", "held", "withdrawn", "fall", "unknown", "quality", "recovered", "success"]


class Notify(_Part):
    """Who hears of what: addresses of apprise for mail, Slack, Teams, PagerDuty, SMS, webhooks (docs/operations.md)."""

    to: dict[str, Secret] = Field(
        {}, description="addresses by name, as sealed:NAME; what is sealed as notify.to.NAME needs no line here"
    )
    on: tuple[Event, ...] = Field(
        ("failed", "held", "withdrawn", "fall", "unknown", "quality", "recovered"),
        description='what is told; there is "success" too',
    )
    only: dict[str, tuple[Event, ...]] = Field({}, description="by name, for those who want to hear of something else")
    heartbeat: Secret | None = Field(
        None, description="URL that is pinged at start, success and failure; sealed as notify.heartbeat"
    )
    deadline: float = Field(30, gt=0, description="seconds; what is not taken then is sent by the next run")
    keep_hours: float = Field(72, gt=0, description="hours after which a notice that nobody takes is given up")


class Log(_Part):
    """What is said while a command works."""

    format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, JSON elsewhere")
    level: Literal["debug", "info", "warning"] = Field("info", description="the least that is said")


class RaySettings(_Part):
    """Where tasks run."""

    address: str = Field(
        "auto", description='"auto": the cluster of this Ray job, else a local one; "local"; or an address'
    )
    cpus: int | None = Field(None, ge=1, description="of a local cluster; all cores by default")
    dashboard: bool = Field(False, description="start the dashboard of a local cluster")
    few_tasks: int = Field(
        4,
        ge=0,
        description="per CPU, of up to 4: the work of so few full tasks starts no local cluster; 0: always start it",
    )
    most_cpus: int | None = Field(
        None,
        ge=1,
        description="CPUs that the cluster of a Ray job may grow to: its autoscaler is asked for what a step needs",
    )
    bars: bool = Field(False, description="Ray Data's own progress bars, beside ours")
    stalled_seconds: float = Field(7200, gt=0, description="a step of which no task ends for so long is given up")


class Metrics(_Part):
    """Where the figures of a run go, for Prometheus (docs/operations.md)."""

    pipeline: str = Field(
        "marts",
        max_length=64,
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="label of all metrics, for several pipelines share one Prometheus",
    )
    textfile: str | None = Field(None, description="a file.prom in the folder of node_exporter's textfile collector")
    pushgateway: str | None = Field(None, description="URL of a Pushgateway")
    ray: int = Field(
        120, ge=0, le=3600, description="seconds that a cluster which a run joined shows them after its end; 0: never"
    )

    @field_validator("textfile")
    @classmethod
    def _collected(cls, value: str | None) -> str | None:
        if value and not value.endswith(".prom"):
            raise ValueError("node_exporter reads files whose names end in .prom")
        return value

    @field_validator("pushgateway")
    @classmethod
    def _bare(cls, value: str | None) -> str | None:
        if value and (not value.startswith(("http://", "https://")) or "@" in value):
            raise ValueError("http://host:port, without a password")
        return value


class Settings(BaseSettings):
    """Everything a run needs to know from outside."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    source: str | None = Field(None, description="folder or s3://bucket/prefix with sales/, customers/, …")
    target: str | None = Field(None, description="duckdb:///path/file.duckdb or mysql://user@host:port/database")
    state: str | None = Field(
        None, description="folder or s3://bucket/prefix for Parquet; beside the target by default"
    )
    docs: str | None = Field(
        None, description="folder or s3://bucket/prefix for data quality pages; in the state by default"
    )
    reports: str | None = Field(
        None, description="folder or s3://bucket/prefix for the reports of runs; in the state by default"
    )
    reports_url: str | None = Field(None, description="https:// address of that folder, for links in notices")
    as_of: date | None = Field(None, description="lines after it are left out; today by default")
    policy: str | None = Field(None, description="path of policy.toml")
    expectations: str | None = Field(None, description="folder of suites; a file there wins over the shipped one")
    mart: Literal["customers", "sales_team"] | None = Field(None, description="build only this one")
    lock_timeout: int = Field(30, ge=0, description="seconds to wait for another build")
    s3: S3 = S3()
    mysql: MySQL = MySQL()
    secrets: Secrets = Secrets()
    csv: Csv = Csv()
    drops: Drops = Drops()
    limits: Limits = Limits()
    quality: Quality = Quality()
    dimensions: Dimensions = Dimensions()
    notify: Notify = Notify()
    log: Log = Log()
    ray: RaySettings = RaySettings()
    metrics: Metrics = Metrics()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _TomlValues(settings_cls)

    def require(self, *names: str) -> None:
        """Raise UsageError for settings that a command needs and nobody gave."""
        for name in names:
            if getattr(self, name) is None:
                places = f"--{name}, {PREFIX}{name.upper()}, {name} in {CONFIG_FILE}"
                raise UsageError(f"no {name} is set", "settings", f"looked at: {places}. `marts init` writes a file")

    @property
    def state_uri(self) -> str:
        """Where the state is: as set, else beside the target file, else under the source in S3."""
        if self.state:
            return self.state
        if self.target and self.target.startswith("duckdb:"):
            return str(Path(duckdb_path(self.target)).absolute().parent / "_marts")
        if self.source and self.source.startswith("s3://"):
            return self.source.rstrip("/") + "/_marts"
        raise UsageError(
            "no state is set, and a folder of drops with a MySQL target has no natural place for it",
            "settings",
            "give --state a folder, or s3://bucket/prefix",
        )

    @property
    def docs_uri(self) -> str:
        """Where the data quality pages are: as set, else in the state."""
        return self.docs or f"{self.state_uri.rstrip('/')}/docs"

    @property
    def reports_uri(self) -> str:
        """Where the reports of runs are: as set, else in the state."""
        return self.reports or f"{self.state_uri.rstrip('/')}/reports"


class _TomlValues(PydanticBaseSettingsSource):
    """The values of marts.toml, which `load` puts here for one call."""

    values: Mapping[str, Any] = {}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.values)


def load(config: str | None, flags: Mapping[str, Any], places: bool = True) -> Settings:
    """Read all settings. Raises UsageError that names a wrong key or value, and the nearest right key.

    Without ``places``, nobody looks for credentials: the sealed file need not be there.
    """
    where = config or os.environ.get(PREFIX + "CONFIG") or (CONFIG_FILE if Path(CONFIG_FILE).is_file() else "")
    _check_environment()
    values = read_toml(where) if where else {}
    _refuse_plain(values, where)
    if isinstance(values.get("policy"), str):
        values["policy"] = str(Path(where).parent / values["policy"])
    given = {name: value for name, value in flags.items() if value is not None}
    _TomlValues.values = values
    try:
        settings = Settings(**given)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        elsewhere = {name for name in wrong if name in given or name not in values}
        raise UsageError(*explain(error, Settings), "settings" if elsewhere else where) from error
    finally:
        _TomlValues.values = {}
    return _with_places(settings, values) if places else settings


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
    """Give the sealed file of the settings; every worker finds it by the same path."""
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


def _with_places(settings: Settings, written: Mapping[str, Any]) -> Settings:
    """Say for each credential where it is: sealed file, then the platform's own, then the environment."""
    vault = vault_of(settings)
    names = _names(vault)
    found: dict[str, dict[str, Any]] = {"s3": {}, "mysql": {}}
    for part, name in CREDENTIALS:
        given: Secret | None = getattr(getattr(settings, part), name)
        if given and given.plain and isinstance(written.get(part), dict) and name in written[part]:
            given = Secret.of(written[part][name])  # what is sealed wins over the environment
        sealed_name = given.name if given and given.name else f"{part}.{name}"
        found[part][name] = _in_vault(vault, names, sealed_name, given) or _in_environment(
            given, variable_of(part, name)
        )
    if any(os.environ.get(name) for name in _PLATFORM) and not any(one and one.name for one in found["s3"].values()):
        found["s3"] = dict.fromkeys(found["s3"])
    found_notify = _notify_places(settings.notify, vault, names)
    if settings.mysql.option_file and not (found["mysql"]["password"] or Secret()).name:
        found["mysql"]["password"] = Secret(f"option file:{Path(settings.mysql.option_file).expanduser().absolute()}")
    parts: dict[str, Any] = {name: getattr(settings, name).model_copy(update=found[name]) for name in found}
    parts["notify"] = settings.notify.model_copy(update=found_notify)
    if settings.target and settings.target.startswith("mysql:"):
        parts["target"], mysql = reach(settings.target, parts["mysql"], vault)
        parts["mysql"] = mysql.model_copy(update={"password": _in_environment(mysql.password, TARGET_PASSWORD)})
    return settings.model_copy(update=parts)


def _notify_places(notify: Notify, vault: Vault, names: tuple[str, ...]) -> dict[str, Any]:
    """Say for each address of notices where it is. What is sealed as notify.to.NAME needs no setting."""
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
    """Name the values of the sealed file, if it is there."""
    if not Path(vault.file).is_file():
        return ()
    from jobs.config import sealed

    return sealed.look(read_file(vault.file), vault.file).names


def _password(address: str) -> str:
    """Give the password in an address, if there is one."""
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


def _in_environment(given: Secret | None, variable: str) -> Secret | None:
    """Keep a plain credential in our environment, which local workers share."""
    if given is None or not given.plain:
        return given
    os.environ[variable] = given.plain
    return Secret(f"env:{variable}")


def variable_of(*path: str) -> str:
    """Name the variable of the environment that a setting has."""
    return f"{PREFIX}{'__'.join(path)}".upper()


def duckdb_path(uri: str) -> str:
    """Give the file of duckdb:///absolute/path, or of duckdb://relative/path."""
    path = uri.removeprefix("duckdb://")
    if not uri.startswith("duckdb://") or not path.strip("/"):
        raise UsageError(f"{uri!r} names no DuckDB file", "--target", "write duckdb:///path/file.duckdb")
    return "/" + path.lstrip("/") if path.startswith("/") else path


def masked(uri: str | None) -> str:
    """Show an address without its password, even if it is not well formed."""
    return re.sub(r"(://[^/:@]*):.*@", r"\1:***@", uri or "", count=1)
