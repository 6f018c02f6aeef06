"""Sealed credential files: their format, sealing and opening. Bytes in, bytes out.

A file is canonical JSON: the keys that may open it, and one ciphertext per value::

    {"format": "martwright sealed credentials 1", "id": …, "revision": 7, "saved_at": …,
     "keys":   {"ops":  {"type": "x25519", "public": …, "wrapped": …},
                "team": {"type": "scrypt", "public": …, "wrapped": …, "salt": …, "private": …}},
     "values": {"mysql.password": …},
     "seal":   …}

- Each save generates a new data key of 256 bits. HPKE (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) wraps it for every
  key that may open the file. A passphrase is also a key: its private half is in the file, encrypted under scrypt
  (RFC 7914). So anyone who may open the file can save it for all other keys.
- Each value is padded, which obscures its length, and encrypted by AES-256-GCM under a key derived from the data key.
  The header and the value's own name are associated data: a value cannot be moved to another name or file.
- ``seal`` is HMAC-SHA256 over everything else, under another derived key. A file that differs in any byte from what
  saving it would write is rejected: no second spelling of base64, no other order, no removed or added field.
- ``revision`` increases by one with each save. ``lineage``, random and hidden among the values, stays the same. A
  database that records both rejects an old copy, and a file that someone else created for the same public key.
"""

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from marts.errors import UsageError

FORMAT = "martwright sealed credentials 1"
MAX_BYTES = 4 << 20
"""Maximum size of a sealed file; a larger one is rejected."""
MAX_VALUE = 64 << 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LINEAGE = "_lineage"
"""Name of the hidden lineage value; users cannot choose this name."""
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}
"""128 MiB and about 0.4 s: the OWASP recommendation."""
_SHORTEST = 64
_SHORTEST_PASSPHRASE = 8
_PUBLIC = "x25519:"
_HINT = "restore the last good copy; another program or the disk changed this one"


@dataclass(frozen=True)
class Recipient:
    """A key that may open a file."""

    name: str
    public: X25519PublicKey
    salt: bytes = b""
    """For a passphrase, with ``private``, its encrypted private key."""
    private: bytes = b""

    @property
    def kind(self) -> str:
        return "scrypt" if self.salt else "x25519"


@dataclass(frozen=True)
class Envelope:
    """The parts of a file that are readable without a key."""

    id: str
    revision: int
    saved_at: str
    recipients: tuple[Recipient, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """Opened contents of a file. Their text form does not show the values."""

    id: str
    revision: int
    lineage: bytes
    recipients: tuple[Recipient, ...]
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Contents({self.id!r}, revision {self.revision}, {len(self.values)} values)"

    def __reduce__(self) -> Any:
        raise TypeError("opened credentials cannot be pickled")

    @property
    def fingerprint(self) -> str:
        """Hash that identifies the lineage without revealing it."""
        return hashlib.sha256(b"martwright lineage" + self.lineage).hexdigest()


def make_key() -> X25519PrivateKey:
    """Generate a new private key."""
    return X25519PrivateKey.generate()


def key_to_text(key: X25519PrivateKey) -> bytes:
    """Write a private key as PEM (PKCS 8)."""
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, pkcs8, serialization.NoEncryption())


def key_from_text(data: bytes, where: str) -> X25519PrivateKey:
    """Parse a private key. Raise UsageError if it is not an X25519 key."""
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise UsageError("is not a key file", where, "`marts secrets keygen` creates one") from error
    if not isinstance(key, X25519PrivateKey):
        raise UsageError("is not an X25519 key", where, "`marts secrets keygen` creates one")
    return key


def public_to_text(key: X25519PublicKey) -> str:
    """Return a public key as one word."""
    return _PUBLIC + _text(_raw(key))


def public_from_text(text: str) -> X25519PublicKey:
    """Parse a public key. Raise UsageError if it is invalid."""
    hint = "`marts secrets keygen` prints it: x25519: and 44 characters"
    try:
        key = X25519PublicKey.from_public_bytes(_bytes(text.strip().removeprefix(_PUBLIC)))
        _SUITE.encrypt(b"", key)  # not every number is a point that can be sealed to
        return key
    except ValueError as error:
        raise UsageError("is not a public key", text[:60], hint) from error


def passphrase_recipient(name: str, passphrase: str) -> Recipient:
    """Create a key that a passphrase opens."""
    if len(passphrase) < _SHORTEST_PASSPHRASE:
        what = f"the passphrase is shorter than {_SHORTEST_PASSPHRASE} characters"
        raise UsageError(what, name, "use several words")
    key, salt = make_key(), os.urandom(16)
    public = key.public_key()
    sealed = _encrypt(_stretched(passphrase, salt), key.private_bytes_raw(), _raw(public))
    return Recipient(name, public, salt, sealed)


def new_contents(recipients: tuple[Recipient, ...]) -> Contents:
    """Return the contents of a new file that was never saved."""
    return Contents(os.urandom(8).hex(), 0, os.urandom(32), recipients, {})


def check_name(name: str) -> None:
    """Raise UsageError for an invalid name of a value or key."""
    if not _NAME.fullmatch(name):
        hint = "use up to 64 letters, digits, dots, dashes, underscores"
        raise UsageError(f"{name!r} is not a valid name", "secrets", hint)


def check_value(name: str, value: str) -> None:
    """Raise UsageError for an empty or too long value."""
    if not value:
        raise UsageError("the value is empty", name, "give it on standard input, or at the prompt")
    if len(value.encode()) > MAX_VALUE:
        raise UsageError(f"the value is longer than {MAX_VALUE:,} bytes", name, "is this the right file?")


def seal(contents: Contents, saved_at: str) -> bytes:
    """Seal the next revision of a file under a new data key. Raise UsageError if no key could open it."""
    if not contents.recipients:
        raise UsageError("no key could open it", "secrets", "add a key first")
    contents = replace(contents, revision=contents.revision + 1)
    header = _header(contents.id, contents.revision, saved_at)
    data_key = os.urandom(32)
    keys: dict[str, Any] = {}
    for item in contents.recipients:
        entry = {"type": item.kind, "public": _text(_raw(item.public))}
        wrapped = _SUITE.encrypt(data_key, item.public, _bound(header, item.name, entry))
        keys[item.name] = {**entry, "wrapped": _text(wrapped)}
        if item.salt:
            keys[item.name] |= {"salt": _text(item.salt), "private": _text(item.private)}
    fields = _derived(data_key, "values")
    hidden = {**{name: value.encode() for name, value in contents.values.items()}, _LINEAGE: contents.lineage}
    values = {name: _text(_encrypt(fields, _padded(value), _bound(header, name))) for name, value in hidden.items()}
    body = {**header, "keys": keys, "values": values}
    data = _canonical({**body, "seal": _text(_mac(data_key, body))})
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"the file would have more than {MAX_BYTES:,} bytes", "secrets", "it is for credentials, not for files"
        )
    return data


def look(data: bytes, where: str) -> Envelope:
    """Parse what is readable without a key. Raise UsageError if it is not a sealed file or not as it was saved."""
    return _envelope(_parsed(data, where))


def _envelope(body: Mapping[str, Any]) -> Envelope:
    recipients = tuple(_recipient(name, entry) for name, entry in body["keys"].items())
    names = tuple(sorted(name for name in body["values"] if name != _LINEAGE))
    return Envelope(body["id"], body["revision"], body["saved_at"], recipients, names)


def unseal(data: bytes, where: str, key: X25519PrivateKey | None = None, passphrase: str | None = None) -> Contents:
    """Open a file with a key or a passphrase. Raise UsageError for a wrong key or if any byte was changed."""
    body = _parsed(data, where)
    envelope = _envelope(body)
    recipient, private = _chosen(envelope, where, key, passphrase)
    header = _header(envelope.id, envelope.revision, envelope.saved_at)
    entry = body["keys"][recipient.name]
    try:
        bound = _bound(header, recipient.name, {name: entry[name] for name in ("type", "public")})
        data_key = _SUITE.decrypt(_bytes(entry["wrapped"]), private, bound)
        given = _bytes(body.pop("seal"))
        if not hmac.compare_digest(given, _mac(data_key, body)):
            raise InvalidTag
        fields = _derived(data_key, "values")
        opened = {
            name: _unpadded(_decrypt(fields, _bytes(value), _bound(header, name)))
            for name, value in body["values"].items()
        }
        lineage = opened.pop(_LINEAGE)
        values = {name: value.decode() for name, value in opened.items()}
    except (InvalidTag, ValueError, KeyError) as error:
        raise UsageError("was changed since it was saved; rejected", where, _HINT) from error
    return Contents(envelope.id, envelope.revision, lineage, envelope.recipients, values)


def _chosen(
    envelope: Envelope, where: str, key: X25519PrivateKey | None, passphrase: str | None
) -> tuple[Recipient, X25519PrivateKey]:
    """Return the entry that a key or a passphrase opens. Raise UsageError with the keys that can open the file."""
    public = _raw(key.public_key()) if key else b""
    for item in envelope.recipients:
        if key and _raw(item.public) == public:
            return item, key
        if passphrase and item.salt:
            try:
                raw = _decrypt(_stretched(passphrase, item.salt), item.private, _raw(item.public))
            except InvalidTag:
                continue
            return item, X25519PrivateKey.from_private_bytes(raw)
    own = f"the key {public_to_text(key.public_key())}" if key else "the passphrase"
    what = f"{own} cannot open it" if key or passphrase else "cannot be opened without a key or a passphrase"
    raise UsageError(what, where, f"these can: {', '.join(_described(item) for item in envelope.recipients)}")


def _described(item: Recipient) -> str:
    return f"the passphrase {item.name!r}" if item.salt else f"the key {item.name!r} ({public_to_text(item.public)})"


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    """Parse the JSON. Raise UsageError for anything that saving would not have written."""
    refused = UsageError("is not a sealed credentials file or is damaged", where, "`marts secrets init` creates one")
    if len(data) > MAX_BYTES:
        raise refused
    try:
        body = json.loads(data)
        if not isinstance(body, dict) or body.get("format") != FORMAT or _canonical(body) != data:
            raise refused
        _check_shape(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refused from error
    return body


def _check_shape(body: dict[str, Any]) -> None:
    """Raise ValueError unless every field is present, of its type and in canonical spelling."""
    if set(body) != {"format", "id", "revision", "saved_at", "keys", "values", "seal"}:
        raise ValueError("fields")
    if type(body["revision"]) is not int or body["revision"] < 1 or not body["keys"] or _LINEAGE not in body["values"]:
        raise ValueError("revision")
    if not isinstance(body["id"], str) or not isinstance(body["saved_at"], str):
        raise TypeError("id")
    for name in (*body["keys"], *(name for name in body["values"] if name != _LINEAGE)):
        if not _NAME.fullmatch(name):
            raise ValueError(name)
    texts = [body["seal"], *body["values"].values()]
    for entry in body["keys"].values():
        extra = {"salt", "private"} if entry["type"] == "scrypt" else set()
        if entry["type"] not in ("x25519", "scrypt") or set(entry) != {"type", "public", "wrapped"} | extra:
            raise ValueError("key")
        texts += [value for name, value in entry.items() if name != "type"]
        X25519PublicKey.from_public_bytes(_bytes(entry["public"]))
    for text in texts:
        _bytes(text)


def _recipient(name: str, entry: Mapping[str, str]) -> Recipient:
    public = X25519PublicKey.from_public_bytes(_bytes(entry["public"]))
    return Recipient(name, public, _bytes(entry.get("salt", "")), _bytes(entry.get("private", "")))


def _header(id_: str, revision: int, saved_at: str) -> dict[str, Any]:
    return {"format": FORMAT, "id": id_, "revision": revision, "saved_at": saved_at}


def _bound(*what: Any) -> bytes:
    """Return the associated data that a ciphertext is bound to."""
    return _canonical(what)


def _canonical(what: Any) -> bytes:
    return (json.dumps(what, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Decode base64. Raise ValueError unless its spelling is canonical."""
    data = base64.b64decode(text, validate=True)
    if _text(data) != text:
        raise ValueError("base64 is not canonical")
    return data


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _stretched(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase.encode())


def _derived(data_key: bytes, use: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"{FORMAT} {use}".encode()).derive(data_key)


def _mac(data_key: bytes, body: Mapping[str, Any]) -> bytes:
    return hmac.digest(_derived(data_key, "seal"), _canonical(body), "sha256")


def _encrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, data, bound)


def _decrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    if len(data) < 28:
        raise InvalidTag
    return AESGCM(key).decrypt(data[:12], data[12:], bound)


def _padded(data: bytes) -> bytes:
    """Return length and value, padded to a power of two."""
    framed = len(data).to_bytes(4, "big") + data
    size = max(_SHORTEST, 1 << (len(framed) - 1).bit_length())
    return framed.ljust(size, b"\0")


def _unpadded(data: bytes) -> bytes:
    return data[4 : 4 + int.from_bytes(data[:4], "big")]
