"""One class for all settings: flags, then environment (MARTS_…), then marts.toml, then defaults."""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from marts.errors import UsageError
from marts.policy import Policy, explain, known_keys, read_policy, unknown_key

CONFIG_FILE = "marts.toml"
PREFIX = "MARTS_"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class S3(_Part):
    """How to reach s3:// addresses. Without keys, the platform's own chain is used (profile, role, IRSA)."""

    endpoint: str | None = Field(None, description="URL of MinIO, SeaweedFS, …; empty for AWS")
    region: str = Field("us-east-1", description="region")
    path_style: bool = Field(True, description="bucket in the path (MinIO, SeaweedFS), not in the host name")
    access_key: str | None = Field(None, description="access key")
    secret_key: SecretStr | None = Field(None, description="secret key")
    session_token: SecretStr | None = Field(None, description="session token")
    connect_timeout: float = Field(10, gt=0, description="seconds")
    read_timeout: float = Field(60, gt=0, description="seconds")
    deadline: float = Field(60, gt=0, description="seconds; a request that fails for a while is tried again until then")


class MySQL(_Part):
    """How to reach mysql:// addresses."""

    password: SecretStr | None = Field(None, description="used when the address has none")
    ssl_ca: str | None = Field(None, description="CA file; asks for TLS with a verified certificate and host name")
    connect_timeout: int = Field(10, gt=0, description="seconds")
    read_timeout: int = Field(600, gt=0, description="seconds that one statement may take")
    deadline: float = Field(60, gt=0, description="seconds; what fails for a while is tried again until then")
    lease: int = Field(90, ge=3, description="seconds after which a frozen build loses its lock")
    load_data: bool = Field(True, description="use LOAD DATA LOCAL where the server allows it")
    loaders: int = Field(2, ge=1, le=16, description="connections that load at the same time")


class Csv(_Part):
    """How drops are written."""

    delimiter: str = Field(",", min_length=1, max_length=1, description="one character")

    @field_validator("delimiter")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value in '"\r\n\0' or not value.isascii():
            raise ValueError("the delimiter must be one ASCII character, not a quote or a line end")
        return value


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

    customers: str = "drops"
    stores: str = "drops"
    sales_team: str = "drops"
    products: str = "drops"

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


class RaySettings(_Part):
    """Where tasks run."""

    address: str = Field(
        "auto", description='"auto": the cluster of this Ray job, else a local one; "local"; or an address'
    )
    cpus: int | None = Field(None, ge=1, description="of a local cluster; all cores by default")
    dashboard: bool = Field(False, description="start the dashboard of a local cluster")
    stalled_seconds: float = Field(7200, gt=0, description="a step of which no task ends for so long is given up")


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
    as_of: date | None = Field(None, description="lines after it are left out; today by default")
    policy: str | None = Field(None, description="path of policy.toml")
    expectations: str | None = Field(None, description="folder of suites; a file there wins over the shipped one")
    mart: Literal["customers", "sales_team"] | None = Field(None, description="build only this one")
    lock_timeout: int = Field(30, ge=0, description="seconds to wait for another build")
    s3: S3 = S3()
    mysql: MySQL = MySQL()
    csv: Csv = Csv()
    limits: Limits = Limits()
    quality: Quality = Quality()
    dimensions: Dimensions = Dimensions()
    ray: RaySettings = RaySettings()

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


class _TomlValues(PydanticBaseSettingsSource):
    """The values of marts.toml, which `load` puts here for one call."""

    values: Mapping[str, Any] = {}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.values)


def load(config: str | None, flags: Mapping[str, Any]) -> Settings:
    """Read all settings. Raises UsageError that names a wrong key or value, and the nearest right key."""
    where = config or os.environ.get(PREFIX + "CONFIG") or (CONFIG_FILE if Path(CONFIG_FILE).is_file() else "")
    _check_environment()
    values = read_toml(where) if where else {}
    if isinstance(values.get("policy"), str):
        values["policy"] = str(Path(where).parent / values["policy"])
    given = {name: value for name, value in flags.items() if value is not None}
    _TomlValues.values = values
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        elsewhere = {name for name in wrong if name in given or name not in values}
        raise UsageError(*explain(error, Settings), "settings" if elsewhere else where) from error
    finally:
        _TomlValues.values = {}


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
            try:
                known = known_keys(Settings, tuple(path[:depth]))
            except (KeyError, StopIteration):
                known = []
            if part not in known:
                raise UsageError(unknown_key(variable, part, known or ["nothing below it"]), "environment")


def duckdb_path(uri: str) -> str:
    """Give the file of duckdb:///absolute/path, or of duckdb://relative/path."""
    path = uri.removeprefix("duckdb://")
    if not uri.startswith("duckdb://") or not path.strip("/"):
        raise UsageError(f"{uri!r} names no DuckDB file", "--target", "write duckdb:///path/file.duckdb")
    return "/" + path.lstrip("/") if path.startswith("/") else path


def masked(uri: str | None) -> str:
    """Show an address without its password, even if it is not well formed."""
    return re.sub(r"(://[^/:@]*):.*@", r"\1:***@", uri or "", count=1)
