"""Which credentials are used, and whether the sealed file is the one that the target knows."""

from jobs.config.load import ADDRESSES, CREDENTIALS, HEARTBEAT, vault_of
from jobs.config.secret import SEALED, Secret, open_vault
from jobs.config.settings import Settings
from jobs.ports.audit import AuditEvent
from jobs.ports.records import Seal
from jobs.ports.warehouse import Warehouse
from marts.errors import UsageError


def is_used(settings: Settings) -> bool:
    """Return whether any credential comes from the sealed file."""
    tables = any(f":{SEALED}" in address for address in settings.dimensions.tables.values())
    return tables or any(item and item.name for item in _credentials(settings).values())


def places_of(settings: Settings) -> list[str]:
    """Return where each credential that is set comes from."""
    return [f"{name} from {item.place or 'the settings'}" for name, item in _credentials(settings).items() if item]


def check_seal(settings: Settings, warehouse: Warehouse, now: str, remember: bool) -> None:
    """Compare the sealed file with the one that the target remembers, and remember its revision if it is newer.

    Raises UsageError for an old copy, and for a file that is another than the one known: whoever can write our files,
    but has none of our keys, could put either in its place.
    """
    if not is_used(settings):
        return
    own = _seal(settings, now)
    known = {seal.file_id: seal for seal in warehouse.seals()}
    before = known.get(own.file_id)
    where = vault_of(settings).file
    hint = "if that is on purpose, `marts secrets trust` says so"
    if known and (before is None or before.fingerprint != own.fingerprint):
        last = max(known.values(), key=lambda seal: seal.seen_at)
        raise UsageError(f"is not the file that this target knows ({last.file_id}), but {own.file_id}", where, hint)
    if before and own.revision < before.revision:
        what = f"is an old copy: revision {own.revision}, and {before.revision} was used on {before.seen_at[:10]}"
        raise UsageError(what, where, f"get the newest; {hint}")
    if remember and (before is None or own.revision > before.revision):
        warehouse.remember_seal(own)


def trust(settings: Settings, warehouse: Warehouse, now: str, who: str, why: str) -> Seal:
    """Take the sealed file as it is for the right one."""
    seal = _seal(settings, now)
    subject = f"sealed file {seal.file_id}, revision {seal.revision}"
    warehouse.remember_seal(seal, AuditEvent(f"trust-{now}-{seal.file_id}", now, who, "trust", subject, why))
    return seal


def _seal(settings: Settings, now: str) -> Seal:
    contents = open_vault(vault_of(settings))
    return Seal(contents.id, contents.fingerprint, contents.revision, now)


def _credentials(settings: Settings) -> dict[str, Secret | None]:
    """Return all credentials of the settings, by name."""
    fixed = {f"{part}.{name}": getattr(getattr(settings, part), name) for part, name in CREDENTIALS}
    addresses = {f"{ADDRESSES}{name}": item for name, item in settings.notify.to.items()}
    return {**fixed, **addresses, HEARTBEAT: settings.notify.heartbeat}
