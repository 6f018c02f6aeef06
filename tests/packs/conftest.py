"""Where the drops and tables of a pack are: a folder and DuckDB, or S3 and a database server."""

from dataclasses import dataclass
from uuid import uuid4

import pytest
from support.servers import S3Server, SqlServer


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server; the target of the settings is an empty database of a server."""

    s3: S3Server
    name: str


@pytest.fixture(autouse=True)
def _packs_have_marts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests leave out marts of the retail pack, which others do not have."""
    monkeypatch.delenv("MARTS_LEAVE_OUT", raising=False)


@pytest.fixture(params=["folder and DuckDB", pytest.param("S3 and a database server", marks=pytest.mark.database)])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket | None:
    """Return None for a folder and DuckDB, else an empty bucket, with the credentials and the target set."""
    if request.param == "folder and DuckDB":
        return None
    s3: S3Server = request.getfixturevalue("s3_server")
    database: SqlServer = request.getfixturevalue("mariadb")
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    name = f"pack-{uuid4().hex[:12]}"
    monkeypatch.setenv("MARTS_TARGET", database.make_database(name.replace("-", "_")))
    return Bucket(s3, s3.make_bucket(name))
