"""How the rows of a text file are written: the delimiter, the quote, the names of the fields."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """How fields are separated."""

    delimiter: str = ","
    quote: str = '"'
    """Empty if no character quotes fields."""

    @property
    def mark(self) -> bytes:
        """Return the quote as bytes; a byte that no text has if there is none."""
        return self.quote.encode() or b"\xff"

    def fields(self, line: str) -> list[str]:
        """Return the fields of a record. Raise csv.Error if it is not valid CSV."""
        return next(csv.reader([line], strict=True, **self._options), [])

    def line(self, values: Sequence[str]) -> str:
        """Return a record without its line end. Raise csv.Error if there is no quote and a value needs one."""
        text = io.StringIO()
        csv.writer(text, lineterminator="", **self._options).writerow(values)
        return text.getvalue()

    @property
    def _options(self) -> dict[str, Any]:
        quoting = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        return {"delimiter": self.delimiter, **quoting}


PLAIN = Dialect()


@dataclass(frozen=True)
class LineFormat:
    """What is needed to read a single raw row: its fields are those of the header, in this order."""

    names: tuple[str, ...] = ()
    """Empty if the file was rejected: its header is not known."""
    dialect: Dialect = PLAIN
    id_prefix: str = ""
    """Text before the numbers of customers' ids."""
    owner: str = ""
    """Id of the customer of all rows, if the block or the key gives it; empty if it is in the rows."""

    def values(self, raw: str) -> list[str]:
        """Return the value of each name; an empty list if the row is not valid or has another number of fields."""
        try:
            fields = self.dialect.fields(raw)
        except csv.Error:
            return []
        return fields if len(fields) == len(self.names) else []
