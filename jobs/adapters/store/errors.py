"""Translate errors of a store into errors with hints."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from marts.errors import ObjectChanged, ObjectUnreadable, ServiceError, StateDamaged, Transient

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


def translate(error: "ClientError", where: str, bucket: str) -> ServiceError:
    """Return an error of S3 as a ServiceError."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    operation = error.operation_name
    if code in ("PreconditionFailed", "NoSuchKey", "InvalidRange", "404") or status in (412, 416):
        return ObjectChanged("changed or vanished while it was read", where)
    if code == "NoSuchBucket":
        return ServiceError(f"bucket {bucket!r} does not exist", where, "check --source and --state")
    if code == "AccessDenied" and operation == "GetObject":
        return ObjectUnreadable(f"S3 denies access ({code})", where, "check the rights on this object")
    if status in (401, 403) or code == "ExpiredToken":
        return ServiceError(f"S3 denies access ({code})", where, RIGHTS)
    kind = Transient if code in _BUSY or status in _BUSY else ServiceError
    return kind(f"S3 failed ({code or status})", where, "check the status of the storage service")


RIGHTS = "check s3.access_key and s3.secret_key, and their rights: list, get and put; `marts doctor` tries them"
_BUSY = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "RequestLimitExceeded"} | {
    *(408, 429, 500, 502, 503, 504)
}
"""Error codes and HTTP statuses of S3 that allow a retry."""


@contextlib.contextmanager
def understood(key: str) -> Iterator[None]:
    """Raise StateDamaged for a damaged or missing file, and let errors of the storage itself pass."""
    try:
        yield
    except FileNotFoundError as error:
        raise StateDamaged("is missing", key, _MADE_AGAIN) from error
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, UnicodeDecodeError) as error:
        raise StateDamaged(f"is damaged: {error}", key, _MADE_AGAIN) from error
    except OSError as error:
        if error.errno is None and type(error) is OSError:  # raised by Arrow: the file is not Parquet
            raise StateDamaged(f"is damaged: {error}", key, _MADE_AGAIN) from error
        raise


_MADE_AGAIN = "the next build rebuilds it; the live marts are untouched"
