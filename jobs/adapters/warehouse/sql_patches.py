"""Patches: the rows in which a generation differs from the live one, and the exchange of these rows.

Each patch is a table of its own, where no reader looks. The transaction that publishes takes the rows of one side out
of the live rows and inserts those of the other; a rollback does the reverse. Readers see one or the other: their reads
are consistent and take no locks.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from jobs.adapters.warehouse.sql_tables import SqlTables
from jobs.ports.records import Staged
from marts.errors import Defect
from marts.pack import Mart

REMOVED, ADDED = 0, 1
"""Sides of a patch: rows that it takes out of the live generation, and rows that it adds to it."""
PATCH = "_patch_"
"""Infix of the name of the table of a patch, before its number."""


class SqlPatches(SqlTables):
    """Patches of marts in a SQL database."""

    where: str
    join = "JOIN"
    """Join that reads the patch first: it has few rows."""

    def place(self, mart: Mart, base: int) -> tuple[str, dict[str, int]]:
        """Return the table that holds the rows of a base, and the columns that distinguish them from other rows."""
        raise NotImplementedError

    def delete_joined(self, table: str, joined: str, on: str) -> str:
        """Return the statement that deletes rows ``r`` of a table which match rows of another."""
        raise NotImplementedError

    def keys_counted(self, mart: Mart) -> str:
        """Return the SQL that counts the different keys of rows ``r``."""
        raise NotImplementedError

    def changed(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement inside the transaction of the caller. Return the number of rows that it changed."""
        raise NotImplementedError

    def fits(self, staged: Staged) -> bool:
        mart = staged.mart
        table, own = self.place(mart, staged.rows_of)
        patch = patch_of(mart, staged.generation)
        removed, added = f"p.side = {REMOVED}", f"p.side = {ADDED}"
        live = f"{self.join} {table} r ON {_same_key(mart)}{restricted(own, 'r')}"
        both = f"{self.join} {patch} r ON {_same_key(mart)} AND r.side = {REMOVED}"
        counts = [
            self.execute(f"SELECT COUNT(*) FROM {patch} p {rest}")
            for rest in (
                f"WHERE {removed}",
                f"{live} WHERE {removed}",
                f"{both} WHERE {added}",
                f"{live} WHERE {added}",
            )
        ]
        return counts[0] == counts[1] and counts[2] == counts[3]

    def exchange(self, mart: Mart, base: int, patch: int, back: bool = False) -> None:
        """Exchange the rows of a base that a patch names, or undo it, inside the transaction of the caller.

        Raise Defect if the rows to take out are missing.
        """
        away, instead = (ADDED, REMOVED) if back else (REMOVED, ADDED)
        (table, own), rows = self.place(mart, base), patch_of(mart, patch)
        columns = ", ".join(column.name for column in mart.columns)
        ((named,),) = self.execute(f"SELECT COUNT(*) FROM {rows} p WHERE p.side = {away}")
        on = f"p.side = {away} AND {_same_key(mart)}{restricted(own, 'r')}"
        taken = self.changed(self.delete_joined(table, rows, on))
        if taken != named:
            hint = "run `marts build --rebuild`, which loads all rows; the live marts are untouched"
            raise Defect(f"{taken:,} of {named:,} rows to exchange are in {mart.table}", self.where, hint)
        names, values = "".join(f"{name}, " for name in own), "".join(f"{value:d}, " for value in own.values())
        self.execute(
            f"INSERT INTO {table} ({names}{columns}) SELECT {values}{columns} FROM {rows} p WHERE p.side = {instead}"
        )

    def count(self, staged: Staged) -> tuple[int, Decimal]:
        mart = staged.mart
        table, own = self.place(mart, staged.generation)
        if staged.over:
            table, own = patch_of(mart, staged.generation), {"side": ADDED}
        query = f"SELECT {self.keys_counted(mart)}, {_total(mart)} FROM {table} r WHERE 1 = 1{restricted(own, 'r')}"
        ((rows, total),) = self.execute(query)
        return int(rows), Decimal(total)

    def staged_rows(self, staged: Staged, changed: bool) -> str:
        """Return the SQL of the rows that readers will see: the live ones without those taken out, and the added.

        With ``changed``, of a patch only the rows that equal one of its rows in the first column of the key.
        """
        mart = staged.mart
        (table, own), patch = self.place(mart, staged.rows_of), patch_of(mart, staged.generation)
        columns = ", ".join(f"r.{column.name}" for column in mart.columns)
        key = mart.key[0]
        keys = f"(SELECT DISTINCT {key} FROM {patch}) c {self.join} "
        read = f"{keys}{table} r ON r.{key} = c.{key}" if changed and staged.over else f"{table} r"
        rows = f"SELECT {columns} FROM {read} WHERE 1 = 1{restricted(own, 'r')}"
        if not staged.over:
            return rows
        removed = f"SELECT 1 FROM {patch} p WHERE p.side = {REMOVED} AND {_same_key(mart)}"
        added = f"SELECT {columns} FROM {patch} r WHERE r.side = {ADDED}"
        return f"{rows} AND NOT EXISTS ({removed}) UNION ALL {added}"

    def visible(self, staged: Staged) -> tuple[int, Decimal, set[str]]:
        mart = staged.mart
        table = f"{mart.table} r"
        if staged.over:
            on = f"{_same_key(mart)} AND p.side = {ADDED}"
            table = f"{patch_of(mart, staged.generation)} p {self.join} {table} ON {on}"
        ((rows, total, *runs),) = self.execute(
            f"SELECT COUNT(*), {_total(mart)}, MIN(r.run_id), MAX(r.run_id) FROM {table}"
        )
        return int(rows), Decimal(total), {str(run) for run in runs if run is not None}


def patch_of(mart: Mart, number: int) -> str:
    """Return the table of a patch."""
    return f"{mart.table}{PATCH}{number:d}"


def restricted(own: Mapping[str, int], alias: str) -> str:
    """Return the rest of a condition that holds for the rows that some columns distinguish."""
    return "".join(f" AND {alias}.{name} = {value:d}" for name, value in own.items())


def _same_key(mart: Mart) -> str:
    return " AND ".join(f"r.{name} = p.{name}" for name in mart.key)


def _total(mart: Mart) -> str:
    """Return the SQL of the sum of a mart's control column; 0 if it has none."""
    return f"COALESCE(SUM(r.{mart.control}), 0)" if mart.control else "COALESCE(SUM(0), 0)"
