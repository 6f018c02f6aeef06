"""Open a store by its address."""

from dataclasses import dataclass
from functools import lru_cache

from jobs.adapters.store.bucket import Bucket
from jobs.adapters.store.folder import Folder
from jobs.config.settings import S3
from jobs.ports.store import Store
from marts.errors import UsageError


@lru_cache(maxsize=8)
def open_store(uri: str, s3: S3) -> Store:
    """Open a folder or s3://bucket/prefix; one client per process and address."""
    if uri.startswith("s3://"):
        return Bucket(uri, s3)
    if "://" in uri and not uri.startswith("file://"):
        raise UsageError(f"{uri!r} is neither a folder nor s3://bucket/prefix", "address")
    return Folder(uri.removeprefix("file://"))


@dataclass(frozen=True)
class StoreAddress:
    """Address and settings of a store: tasks on other nodes receive this instead of a store."""

    uri: str
    s3: S3

    @classmethod
    def of(cls, uri: str, s3: S3) -> "StoreAddress":
        """Return an address that is valid in every process: that of a folder is absolute."""
        return cls(open_store(uri, s3).uri, s3)

    def open(self) -> Store:
        """Return the store."""
        return open_store(self.uri, self.s3)
