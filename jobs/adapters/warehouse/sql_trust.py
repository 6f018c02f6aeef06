"""The audit trail, erasures and the seals of credential files."""

from collections.abc import Callable, Sequence

from jobs.adapters.warehouse.sql_tables import TABLES, SqlTables
from jobs.ports.audit import AuditEntry, AuditEvent, bound
from jobs.ports.records import (
    Erasure,
    Seal,
)
from marts.pack import PersonId


class SqlTrust(SqlTables):
    """The audit trail, erasures and the seals of credential files."""

    def seals(self) -> list[Seal]:
        return self.select(Seal, "marts_seals", "ORDER BY file_id")

    def remember_seal(self, seal: Seal, event: AuditEvent | None = None) -> None:
        self.create_ledger()

        def work() -> None:
            if event:  # trusting one file revokes the trust in all others
                self.execute("DELETE FROM marts_seals")
                self.append_audit(event)
            self.write("marts_seals", [seal])

        self.atomically(work)

    def audit(self) -> list[AuditEntry]:
        return self.select(AuditEntry, "marts_audit", "ORDER BY number")

    def audit_end(self, lock: str = "") -> AuditEntry | None:
        last = self.select(AuditEntry, "marts_audit", f"ORDER BY number DESC LIMIT 1 {lock}")
        return last[0] if last else None

    def append_audit(self, event: AuditEvent) -> None:
        """Append an event after the last one, inside the transaction of the caller. A repeated call appends it once."""
        existing = self.execute(f"SELECT COUNT(*) FROM marts_audit WHERE entry_id = {self.mark}", [event.entry_id])
        if existing == [(0,)]:
            self.write("marts_audit", [bound(event, self.audit_end(self.for_update))])

    def erasures(self) -> list[Erasure]:
        return self.select(Erasure, "marts_erased", "ORDER BY number")

    def erase(self, erasures: Sequence[Erasure], customer: PersonId, event: AuditEvent) -> int:
        def work() -> int:
            self.write("marts_erased", erasures)
            self.append_audit(event)
            return self.remove_person(customer)

        return self.atomically(work)

    def remove_person(self, person: PersonId) -> int:
        """Remove the rows of a customer in every generation, inside the transaction of the caller."""
        raise NotImplementedError

    def rewrite(self, table: str, column: str, change: Callable[[str], str]) -> int:
        keys = TABLES[table][1].split(", ")

        def work() -> int:
            changed = 0
            for text, *key in self.execute(f"SELECT {column}, {', '.join(keys)} FROM {table}"):
                new = change(str(text))
                if new != text:
                    where = " AND ".join(f"{name} = {self.mark}" for name in keys)
                    self.execute(f"UPDATE {table} SET {column} = {self.mark} WHERE {where}", [new, *key])
                    changed += 1
            return changed

        return self.atomically(work) if self.columns_of(table) else 0
