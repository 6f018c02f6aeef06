"""Views of a pack over its marts, in a SQL database."""

import hashlib
import logging
from dataclasses import dataclass

from jobs.adapters.warehouse.sql_tables import SqlTables
from marts.errors import Busy
from marts.pack import Pack
from marts.views import DatabaseView

_log = logging.getLogger("marts.views")


@dataclass(frozen=True)
class _Created:
    """A view that Martwright created, and a digest of its definition; empty until it is created."""

    name: str
    digest: str


class SqlViews(SqlTables):
    """Views of a pack over its marts, in a SQL database."""

    pack: Pack

    def check_views(self) -> None:
        """Raise UsageError if a table or view not created by Martwright has the name of a view of the pack."""
        own = self._created()
        for view in self.pack.database_views:
            if view.name not in own and (kind := self.kind_of(view.name)):
                raise self.foreign(kind, view.name, "a view of the pack")

    def create_views(self) -> None:
        """Create the views whose marts exist, if they are missing or of another version; drop those of no pack."""
        own = self._created()
        for name in own.keys() - {view.name for view in self.pack.database_views}:
            self.execute(f"DROP VIEW IF EXISTS {name}")
            self.execute(f"DELETE FROM marts_views WHERE name = {self.mark}", [name])
        for view in self.pack.database_views:
            digest, is_view = self._digest(view), self.kind_of(view.name) == "view"
            marts = [self.pack.marts[name].table if name in self.pack.marts else name for name in view.reads]
            if (is_view and own.get(view.name) == digest) or not all(map(self.kind_of, marts)):
                continue
            if view.name not in own:  # before it exists: it would be of somebody else after a kill
                self.write("marts_views", [_Created(view.name, "")])
            try:
                self.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.sql}")
            except Busy as error:
                _log.warning("the view %s is left for the next build: %s", view.name, error)
                continue
            self.write("marts_views", [_Created(view.name, digest)])

    def _created(self) -> dict[str, str]:
        if not self.columns_of("marts_views"):
            return {}
        return {str(name): str(digest) for name, digest in self.execute("SELECT name, digest FROM marts_views")}

    def _digest(self, view: DatabaseView) -> str:
        """Return a digest of what a view shows: its SQL, and the columns of the marts that it reads."""
        columns = [[*map(str, self.pack.marts[name].columns)] for name in view.reads if name in self.pack.marts]
        return hashlib.sha256(f"{view.sql}\0{columns}".encode()).hexdigest()[:16]
