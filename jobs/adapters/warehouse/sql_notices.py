"""Notices in the ledger."""

from functools import partial

from jobs.adapters.warehouse.sql_tables import SqlTables
from jobs.ports.notices import Notice, NoticeUpdate, announced_topics, closed, unless_known
from jobs.ports.records import (
    NoticeChanges,
    NoticeRecord,
)


class SqlNotices(SqlTables):
    """Notices in the ledger."""

    def notices(self) -> list[Notice]:
        result = self.select(NoticeRecord, "marts_notices", "WHERE done = 0 ORDER BY raised_at, notice_id")
        return [notice for record in result if (notice := record.read())]

    def last_notices(self, limit: int) -> list[Notice]:
        rest = f"ORDER BY raised_at DESC, notice_id DESC LIMIT {limit:d}"
        result = self.select(NoticeRecord, "marts_notices", rest)
        return [notice for record in result if (notice := record.read())]

    def change_notice(self, notice_id: str, change: NoticeUpdate) -> Notice | None:
        if not self.columns_of("marts_notices"):  # the ledger is missing or of an older version
            self.create_ledger()
        return self.atomically(lambda: self._change_notice(notice_id, change))

    def _change_notice(self, notice_id: str, change: NoticeUpdate) -> Notice | None:
        where = f"WHERE notice_id = {self.mark} {self.for_update}"
        result = self.select(NoticeRecord, "marts_notices", where, [notice_id])
        after = change(result[0].read() if result else None)
        if after:
            self.write("marts_notices", [NoticeRecord.of(after)])
        return after

    def write_notices(self, news: NoticeChanges) -> None:
        """Add notices and close others, inside the transaction of the caller."""
        known = announced_topics(self.notices())  # read now: the caller may not have been able to
        for notice in news.new:
            if set(notice.about) <= known:
                continue
            self._change_notice(notice.notice_id, partial(unless_known, new=notice))
        for number in news.over:
            self._change_notice(number, partial(closed, now=news.at))
