"""One class for all settings: flags, then environment (MARTS_…), then marts.toml, then defaults."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jobs.config.days import DayWord, read_day
from jobs.config.packs import load_pack
from jobs.config.secret import Secret
from marts.alerts import EVENTS
from marts.errors import UsageError
from marts.pack import Pack
from marts.pack_variants import with_text_ids, without, without_analytics
from marts.policy import nearest, unknown_key
from marts.rows.source_block import SourceBlock

CONFIG_FILE = "marts.toml"
PREFIX = "MARTS_"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class S3(_Part):
    """Access to s3:// addresses. Without keys, the platform's own are used (IRSA, role, profile)."""

    endpoint: str | None = Field(None, description="URL of MinIO, SeaweedFS, …; empty for AWS")
    region: str = Field("us-east-1", description="region of the bucket")
    path_style: bool = Field(True, description="bucket in the path (MinIO, SeaweedFS), not in the host name")
    access_key: Secret | None = Field(None, description="access key, as sealed:NAME")
    secret_key: Secret | None = Field(None, description="secret key, as sealed:NAME")
    session_token: Secret | None = Field(None, description="session token, as sealed:NAME")
    connect_timeout: float = Field(10, gt=0, description="seconds to connect")
    read_timeout: float = Field(60, gt=0, description="seconds to wait for data")
    deadline: float = Field(60, gt=0, description="seconds during which a failing request is retried")


class MySQL(_Part):
    """Access to mysql:// addresses."""

    password: Secret | None = Field(None, description="password if the address contains none, as sealed:NAME")
    option_file: str | None = Field(None, description="MySQL option file with a [client] password")
    ssl_ca: str | None = Field(None, description="CA file; requires TLS with a verified certificate and host name")
    ssl_cert: str | None = Field(None, description="client certificate, if the server requires one")
    ssl_key: str | None = Field(None, description="key of the client certificate")
    connect_timeout: int = Field(10, gt=0, description="seconds to connect")
    read_timeout: int = Field(600, gt=0, description="seconds that one statement may take")
    deadline: float = Field(60, gt=0, description="seconds during which a failing operation is retried")
    lease: int = Field(90, ge=3, description="seconds after which a frozen build loses its lock")
    load_data: bool = Field(True, description="use LOAD DATA LOCAL where the server allows it")
    loaders: int = Field(2, ge=1, le=16, description="connections that load at the same time")

    @model_validator(mode="after")
    def _verified(self) -> Self:
        if (self.ssl_cert or self.ssl_key) and not self.ssl_ca:
            raise ValueError("ssl_cert needs ssl_ca: without it the server is not verified")
        return self


class Secrets(_Part):
    """The sealed file of credentials (docs/security.md)."""

    file: str = Field("secrets/credentials.json", description="the sealed file; used if it exists")
    key_file: str = Field(
        "~/.config/martwright/key.pem", description="the private key that opens it; only its owner may read it"
    )
    passphrase: Secret | None = Field(None, description="passphrase that opens it; only in MARTS_SECRETS__PASSPHRASE")


class Drops(_Part):
    """Handling of drops."""

    withdrawals: Literal["ask", "apply", "keep"] = Field(
        "ask",
        description="if the object of a drop is missing: ask above a few, withdraw the drop, or keep it",
    )
    source: str | None = Field(
        None, description="the setting `source`, in a settings file that has [[source]] blocks: the name is taken"
    )


class Limits(_Part):
    """Limits that protect the machine from hostile or broken input."""

    max_inflated_bytes: int = Field(
        64 << 30, gt=0, description="uncompressed size of one gzip drop; a larger one is rejected"
    )
    split_bytes: int = Field(32 << 20, ge=1 << 10, description="bytes of an uncompressed drop that one task reads")
    rollup_lines: int = Field(1_000_000, ge=1, description="approximate lines of a month that one task rolls up")
    settle_seconds: float = Field(
        2, ge=0, description="seconds; a build waits for a file in a folder that was written to more recently"
    )
    finish_rows: int = Field(300_000, ge=1, description="approximate mart rows that one task materializes")


class MartSettings(_Part):
    """Settings of one mart in the target."""

    indexes: tuple[tuple[str, ...], ...] = Field(
        (), description="secondary indexes of its table in MySQL or MariaDB, each a list of columns"
    )


class Quality(_Part):
    """Use of Great Expectations. Rules about rows and drops apply in any case."""

    judge: bool = Field(True, description="judge drops and staged marts with it and write its pages")


class Notify(_Part):
    """Recipients of notices: apprise addresses of mail, Slack, Teams, PagerDuty, SMS, webhooks (docs/operations.md)."""

    to: dict[str, Secret] = Field(
        {}, description="addresses by name, as sealed:NAME; those sealed as notify.to.NAME need no line here"
    )
    on: tuple[str, ...] = Field(
        tuple(event for event in EVENTS if event != "success"),
        description='events that are sent: also names of alerts of the pack; "success" is off by default',
    )
    only: dict[str, tuple[str, ...]] = Field(
        {}, description="events by name of an address, for addresses that get other events"
    )
    heartbeat: Secret | None = Field(
        None, description="URL that is pinged at start, success and failure; sealed as notify.heartbeat"
    )
    reports: tuple[str, ...] = Field((), description="names of the addresses that get the monthly report")
    attach_bytes: int = Field(
        5_000_000, ge=0, description="bytes of files above which a notice names their place instead of attaching them"
    )
    deadline: float = Field(30, gt=0, description="seconds for delivery; the next run sends what is left")
    keep_hours: float = Field(72, gt=0, description="hours after which an undelivered notice is given up")


class Pages(_Part):
    """The served pages (docs/pages.md)."""

    bind: str = Field("127.0.0.1", description="address that `marts serve` listens at; others need `auth`")
    port: int = Field(8700, ge=0, le=65535, description="its port; 0: a free one")
    auth: Literal["", "token", "proxy", "none"] = Field(
        "",
        description="who may read: token, those who know pages.token; proxy, those whom a reverse proxy names; none, "
        "everybody; empty: everybody on this machine, so only on a loopback address",
    )
    token: Secret | None = Field(None, description="token of readers, as sealed:NAME")
    proxies: tuple[str, ...] = Field((), description="addresses of the reverse proxies that may name a user")
    embed: tuple[str, ...] = Field((), description="sites that may embed the pages in a frame: https://host")
    poll_seconds: float = Field(15, gt=0, le=3600, description="seconds between two looks for another publication")
    names: bool | None = Field(
        None,
        description="whether readers may see names of people, which are on the pages of runs; by default only without "
        "`auth` on a loopback address",
    )

    @model_validator(mode="after")
    def _auth_is_complete(self) -> Self:
        if self.auth == "proxy" and not self.proxies:
            raise ValueError('auth = "proxy" needs proxies: the addresses that may name a user')
        if any(not re.fullmatch(r"https?://[A-Za-z0-9.:*-]+", site) for site in self.embed):
            raise ValueError("embed names sites, such as https://intranet.example.com")
        return self


class Log(_Part):
    """Log output of commands."""

    format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, JSON elsewhere")
    level: Literal["debug", "info", "warning"] = Field("info", description="minimum level")


class RaySettings(_Part):
    """Ray cluster that runs the tasks."""

    address: str = Field(
        "auto", description='"auto": the cluster of this Ray job, else a local one; "local"; or an address'
    )
    cpus: int | None = Field(None, ge=1, description="CPUs of a local cluster; all cores by default")
    dashboard: bool = Field(False, description="start the dashboard of a local cluster")
    few_tasks: int = Field(
        4,
        ge=0,
        description="largest step in full tasks per CPU (of up to 4) that starts no local cluster; 0: always start it",
    )
    most_cpus: int | None = Field(
        None,
        ge=1,
        description="maximum CPUs of a Ray job's cluster: its autoscaler is asked for what a step needs",
    )
    bars: bool = Field(False, description="show Ray Data's own progress bars too")
    stalled_seconds: float = Field(7200, gt=0, description="seconds without a completed task until a step is given up")


class Metrics(_Part):
    """Metrics of a run for Prometheus (docs/operations.md)."""

    pipeline: str = Field(
        "marts",
        max_length=64,
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="label of all metrics, because several pipelines may share one Prometheus",
    )
    textfile: str | None = Field(None, description="a .prom file in the folder of node_exporter's textfile collector")
    pushgateway: str | None = Field(None, description="URL of a Pushgateway")
    ray: int = Field(
        120, ge=0, le=3600, description="seconds after the run that a joined cluster exposes the metrics; 0: never"
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
            raise ValueError("write http://host:port, without a password")
        return value


def _pack_of(info: ValidationInfo) -> Pack | None:
    """Return the pack that the settings name; None if that name is not valid, which is an error of its own."""
    return load_pack(info.data["pack"]) if "pack" in info.data else None


class Settings(BaseSettings):
    """All settings of a run."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    pack: str = Field("retail", description="the domain: name of a shipped pack, or a folder with pack.toml")
    ids: Literal["number", "text"] = Field(
        "number", description="ids are whole numbers, or texts of at most 64 characters as they stand"
    )
    source: str | None = Field(None, description="folder or s3://bucket/prefix with a folder per kind of drop")
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
    report_fonts: str | None = Field(
        None, description="folder of fonts for scripts that the font of the monthly report does not have"
    )
    reports_url: str | None = Field(None, description="https:// address of that folder, for links in notices")
    as_of: date | DayWord | None = Field(
        None, description="last day that counts: a date, today, yesterday, monday or month-end; today by default"
    )
    policy: str | None = Field(None, description="path of policy.toml")
    expectations: str | None = Field(None, description="folder of suites; its files override the shipped ones")
    mart: str | None = Field(None, description="build only this mart")
    analytics: bool = Field(True, description="false: do not compute the tables of customer analytics")
    leave_out: tuple[str, ...] = Field(
        (), description="marts that are not computed, nor those that read them; a dashboard needs its own"
    )
    lock_timeout: int = Field(30, ge=0, description="seconds to wait for another build")
    sources: tuple[SourceBlock, ...] = Field(
        (), description="how files are read: the [[source]] blocks of marts.toml (docs/sources.md)"
    )
    s3: S3 = S3()
    mysql: MySQL = MySQL()
    secrets: Secrets = Secrets()
    pages: Pages = Pages()
    drops: Drops = Drops()
    limits: Limits = Limits()
    marts: dict[str, MartSettings] = Field({}, description="settings of marts, by name")
    quality: Quality = Quality()
    dimensions: dict[str, str] = Field(
        {},
        repr=False,
        description='source of a dimension: "drops", or a table as mysql://user@host:port/database/table',
    )
    notify: Notify = Notify()
    log: Log = Log()
    ray: RaySettings = RaySettings()
    metrics: Metrics = Metrics()

    @field_validator("as_of", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        return read_day(value if isinstance(value, str) else str(value)) if value is not None else None

    @field_validator("mart")
    @classmethod
    def _known_mart(cls, name: str | None, info: ValidationInfo) -> str | None:
        pack = _pack_of(info)
        if pack and name is not None and name not in pack.marts:
            raise ValueError(f"must be one of {', '.join(map(repr, pack.marts))}")
        return name

    @field_validator("leave_out")
    @classmethod
    def _known_marts(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        pack = _pack_of(info)
        for name in names:
            if pack and name not in pack.marts:
                raise ValueError(f"unknown mart {name!r}{nearest(name, pack.marts)}")
        if info.data.get("mart") in names:
            raise ValueError(f"{info.data['mart']!r} is the only mart that is built (`mart`)")
        return names

    @field_validator("sources")
    @classmethod
    def _known_kinds(cls, blocks: tuple[SourceBlock, ...], info: ValidationInfo) -> tuple[SourceBlock, ...]:
        pack = _pack_of(info)
        for block in blocks:
            if pack and block.kind is not None and block.kind not in pack.kinds:
                raise ValueError(f"unknown kind {block.kind!r}{nearest(block.kind, pack.kinds)}")
        return blocks

    @field_validator("dimensions")
    @classmethod
    def _known_dimensions(cls, tables: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        pack = _pack_of(info)
        known = [kind.name for kind in pack.dimensions] if pack else []
        for name, where in tables.items():
            if name not in known:
                raise ValueError(unknown_key(name, name, known))
            if where != "drops" and not where.startswith("mysql://"):
                raise ValueError(f'{name}: "drops", or mysql://user@host:port/database/table')
        return tables

    @field_validator("marts")
    @classmethod
    def _known_columns(cls, marts: dict[str, MartSettings], info: ValidationInfo) -> dict[str, MartSettings]:
        if not (pack := _pack_of(info)):
            return marts
        for name, of_mart in marts.items():
            if name not in pack.marts:
                raise ValueError(unknown_key(name, name, list(pack.marts)))
            names = [column.name for column in pack.marts[name].columns]
            for columns in of_mart.indexes:
                if unknown := next((column for column in columns if column not in names), ""):
                    raise ValueError(f"{name}.indexes: unknown column {unknown!r}{nearest(unknown, names)}")
                if not columns or len({*columns}) < len(columns):
                    raise ValueError(f"{name}.indexes: an index has one column or more, each once")
        return marts

    @field_validator("notify")
    @classmethod
    def _known_events(cls, notify: Notify, info: ValidationInfo) -> Notify:
        pack = _pack_of(info)
        known = [*EVENTS, *(alert.name for alert in pack.alerts)] if pack else []
        for where, events in {"on": notify.on, **{f"only.{name}": own for name, own in notify.only.items()}}.items():
            if pack and (unknown := [event for event in events if event not in known]):
                hint = nearest(unknown[0], known) or f"; known: {', '.join(known)}"
                raise ValueError(f"{where}: {unknown[0]!r} is no event, and no alert of the pack {pack.name}{hint}")
        return notify

    @property
    def domain(self) -> Pack:
        """The pack, as it is read, with the indexes of its marts."""
        pack = load_pack(self.pack)
        pack = pack if self.analytics else without_analytics(pack)
        pack = without(pack, self.leave_out) if self.leave_out else pack
        pack = with_text_ids(pack) if self.ids == "text" else pack
        indexes = {name: item.indexes for name, item in self.marts.items() if item.indexes}
        tables = {n: replace(mart, indexes=indexes[n]) if n in indexes else mart for n, mart in pack.tables.items()}
        return replace(pack, tables=tables) if indexes else pack

    @property
    def dimension_tables(self) -> dict[str, str]:
        """Addresses of the dimensions that are tables, by name."""
        return {name: where for name, where in self.dimensions.items() if where != "drops"}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `load` reads the others

    def require(self, *names: str) -> None:
        """Raise UsageError for required settings that are not set."""
        for name in names:
            if getattr(self, name) is None:
                places = f"--{name}, {PREFIX}{name.upper()} or {name} in {CONFIG_FILE}"
                raise UsageError(f"{name} is not set", "settings", f"set {places}. `marts init` writes a file")

    @property
    def state_uri(self) -> str:
        """Location of the state: as set, else beside the target file, else under the source in S3."""
        if self.state:
            return self.state
        if self.target and self.target.startswith("duckdb:"):
            return str(Path(duckdb_path(self.target)).absolute().parent / "_marts")
        if self.source and self.source.startswith("s3://"):
            return self.source.rstrip("/") + "/_marts"
        raise UsageError(
            "state is not set, and has no default for a folder of drops with a MySQL target",
            "settings",
            "set --state to a folder or s3://bucket/prefix",
        )

    @property
    def docs_uri(self) -> str:
        """Location of the data quality pages: as set, else in the state."""
        return self.docs or f"{self.state_uri.rstrip('/')}/docs"

    @property
    def reports_uri(self) -> str:
        """Location of the run reports: as set, else in the state."""
        return self.reports or f"{self.state_uri.rstrip('/')}/reports"


def duckdb_path(uri: str) -> str:
    """Return the file of duckdb:///absolute/path or duckdb://relative/path."""
    path = uri.removeprefix("duckdb://")
    if not uri.startswith("duckdb://") or not path.strip("/"):
        raise UsageError(f"{uri!r} names no DuckDB file", "--target", "write duckdb:///path/file.duckdb")
    return "/" + path.lstrip("/") if path.startswith("/") else path


def masked(uri: str | None) -> str:
    """Return an address without its password, even if it is malformed."""
    return re.sub(r"(://[^/:@]*):.*@", r"\1:***@", uri or "", count=1)
