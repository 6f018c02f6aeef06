"""List the origins of credentials, and check that the sealed file is the one that the target recorded."""

from jobs.config.load import ADDRESSES, CREDENTIALS, HEARTBEAT, vault_of
from jobs.config.secret import SEALED, Secret, open_vault
from jobs.config.settings import Settings
from jobs.ports.audit import AuditEvent
from jobs.ports.records import Seal
from jobs.ports.warehouse import Warehouse
from marts.errors import UsageError


def is_used(settings: Settings) -> bool:
    """Return whether any credential comes from the sealed file."""
    tables = any(f":{SEALED}" in address for address in settings.dimension_tables.values())
    return tables or any(item and item.name for item in _credentials(settings).values())


def places_of(settings: Settings) -> list[str]:
    """Return where each credential that is set comes from."""
    return [f"{name} from {item.place or 'the settings'}" for name, item in _credentials(settings).items() if item]


def check_seal(settings: Settings, warehouse: Warehouse, now: str, remember: bool) -> None:
    """Compare the sealed file with the one that the target recorded, and record its revision if it is newer.

    Raise UsageError for an old copy or a different file: an attacker who can write files but has no key could
    substitute either.
    """
    if not is_used(settings):
        return
    own = _seal(settings, now)
    known = {seal.file_id: seal for seal in warehouse.seals()}
    before = known.get(own.file_id)
    where = vault_of(settings).file
    hint = "if that is on purpose, run `marts secrets trust`"
    if known and (before is None or before.fingerprint != own.fingerprint):
        last = max(known.values(), key=lambda seal: seal.seen_at)
        raise UsageError(f"is not the file that this target recorded ({last.file_id}), but {own.file_id}", where, hint)
    if before and own.revision < before.revision:
        what = f"is an old copy: revision {own.revision}; {before.revision} was used on {before.seen_at[:10]}"
        raise UsageError(what, where, f"get the newest copy; {hint}")
    if remember and (before is None or own.revision > before.revision):
        warehouse.remember_seal(own)


def trust(settings: Settings, warehouse: Warehouse, now: str, who: str, why: str) -> Seal:
    """Record the current sealed file as the trusted one."""
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
