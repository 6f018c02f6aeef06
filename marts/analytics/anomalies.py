"""Find days whose total is unusual for their weekday: of a company, its places and the sellers of each.

Whole cents and millionths: each product and quotient is rounded half up at once, so that a result depends on no order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log
from typing import NamedTuple

import numpy as np

from marts.analytics.ranks import MILLION, half_up, half_ups

LATELY = 28
"""Days before a day that give the level, and over which returns are added up."""
_WEEKS = 4
"""Least number of days of its weekday that a day is compared with."""
_STEADIEST = 1_050_000
"""Least spread of days, in millionths: half of them are within a factor of 1.05."""
_STEADIEST_SHARE = 1_250_000
"""Least spread of the returns of sellers, and of purchases at a place."""
_PLACES = 5
"""Least number of places that have a day in common."""
_SELLER_DAYS = 20
"""Least number of days of a seller that give a share."""
_SELLERS = 8
"""Least number of sellers with returns that one is compared with."""
_RETURNS = 5
"""Least number of returned lines of a seller who is named."""
_CLOSED_AFTER = 7
"""Days without a line after which a place is closed, and not reported any more."""
_GAPS = 10
"""A place without a line on more than one of so many days is not reported for a day without one."""
_LARGEST_SCORE = 9999
_LARGEST_CENTS = 4_000_000_000_000
"""Cents whose millionths, twice, are below 2 ** 63."""

ABOVE, BELOW, NO_LINES, CLOSED_DAY, MORE_RETURNS = range(5)
"""Reasons of a row."""


@dataclass(frozen=True)
class Limits:
    """What is unusual, by the policy."""

    days: int = 31
    """The last days, which are judged."""
    weeks: int = 12
    """The weeks before a day, which it is compared with."""
    spread: int = 6
    """Exponent of the spread beyond which a day is unusual."""
    least_share: int = 200_000
    """Least difference from what is expected, in millionths of it."""
    least_cents: int = 0
    """Least difference from what is expected."""


@dataclass(frozen=True)
class SellerDay:
    """What a seller took in at a place on a day: at least one line."""

    place: int | str
    seller: int | str
    day: int
    """Number of the day; as_of is 0, those before are negative."""
    cents: int


@dataclass(frozen=True)
class SellerReturns:
    """Lines of a seller in the last 28 days."""

    seller: int | str
    bought_cents: int
    returned_cents: int
    """Not negative."""
    returns: int
    """Returned lines."""


class Purchases(NamedTuple):
    """Purchases: arrays of whole numbers of one length."""

    place: np.ndarray
    day: np.ndarray
    cents: np.ndarray


class Expected(NamedTuple):
    """What a day is expected to bring, and the spread of the days before, in millionths."""

    cents: int
    spread: int


class Anomaly(NamedTuple):
    """An unusual value of a day."""

    place: int | str | None
    """None if it is that of the company."""
    seller: int | str | None
    day: int
    value: int
    expected: int
    lower: int | None
    """None: no limit."""
    upper: int
    score: int | None
    """Logarithm of value / expected to the base of the spread, in hundredths; None if nothing is expected."""
    reason: int


@dataclass(frozen=True)
class Judged:
    """The unusual days, and how many were judged."""

    anomalies: Sequence[Anomaly]
    judged: int
    too_little: int
    """Days that could not be judged: there is too little history."""


class _Series:
    """Cents of each day with a line."""

    def __init__(self) -> None:
        self.cents: dict[int, int] = {}

    def add(self, day: int, cents: int) -> None:
        self.cents[day] = self.cents.get(day, 0) + cents

    def had_lines(self, day: int) -> bool:
        """Return whether there is a line on a day, or shortly before."""
        return any(day - n in self.cents for n in range(_CLOSED_AFTER + 1))


def median(values: Sequence[int]) -> int:
    """Return the middle one of whole numbers; of two, their mean, half up."""
    return _middle_of(sorted(values))


def _middle_of(ordered: Sequence[int] | np.ndarray) -> int:
    """Return the median of whole numbers in their order."""
    middle = len(ordered) // 2
    high = int(ordered[middle])
    return high if len(ordered) % 2 else half_up(int(ordered[middle - 1]) + high, 2)


def usual_purchases(
    purchases: Purchases, judged: Sequence[np.ndarray], least: int
) -> Iterator[tuple[int, int, Expected]]:
    """Yield place and day of each that is ``judged``, with what purchases there cost in the 28 days before.

    Places with fewer purchases than ``least`` in these days are left out.
    """
    if not len(judged[0]):
        return
    before = purchases.day.min() - LATELY
    days = int(purchases.day.max() - before) + 1
    at = purchases.place * days + purchases.day - before
    order = np.argsort(at, kind="stable")
    at, cents = at[order], purchases.cents[order]
    until = judged[0] * days + judged[1] - before
    first, last = np.searchsorted(at, until - LATELY), np.searchsorted(at, until)
    for place, day, low, high in zip(*judged, first, last, strict=True):
        if high - low < least:
            continue
        own = cents[low:high]
        own = own if own.max() < _LARGEST_CENTS else own.astype(object)
        middle = _middle_of(np.sort(own))
        above = half_ups(own * MILLION, middle)
        factors = np.where(above >= MILLION, above, half_ups(np.full_like(own, middle * MILLION), own))
        yield int(place), int(day), Expected(middle, max(_middle_of(np.sort(factors)), _STEADIEST_SHARE))


def _factor(value: int, usual: int) -> int:
    """Return the factor between two values, at least 1, in millionths."""
    ratio = half_up(value * MILLION, usual)
    return ratio if ratio >= MILLION else half_up(usual * MILLION, value)


def unusual_days(
    lines: Sequence[SellerDay],
    first_days: Mapping[int | str, int],
    weekday: int,
    limits: Limits,
    events: frozenset[int] = frozenset(),
) -> Judged:
    """Judge each of the last days of the company, of each place and of each seller at a place.

    ``lines`` are those of the days that are judged and of the weeks before them; ``first_days`` the first day of each
    place in all data; ``weekday`` that of as_of, 0 to 6; ``events`` days that are neither judged nor history.
    """
    return _Judge(lines, first_days, weekday, limits, events).judged()


class _Judge:
    """Judge days, one after the other."""

    def __init__(
        self,
        lines: Sequence[SellerDay],
        first_days: Mapping[int | str, int],
        weekday: int,
        limits: Limits,
        events: frozenset[int],
    ) -> None:
        self.limits, self.events, self.weekday = limits, events, weekday
        self.first_days = first_days
        self.company = _Series()
        self.places: dict[int | str, _Series] = {}
        self.sellers: dict[tuple[int | str, int | str], _Series] = {}
        for line in lines:
            self.company.add(line.day, line.cents)
            self.places.setdefault(line.place, _Series()).add(line.day, line.cents)
            self.sellers.setdefault((line.place, line.seller), _Series()).add(line.day, line.cents)
        self.too_little = self.count = 0

    def judged(self) -> Judged:
        anomalies = [
            anomaly for day in range(1 - self.limits.days, 1) if day not in self.events for anomaly in self._of_day(day)
        ]
        return Judged(anomalies, self.count, self.too_little)

    def _of_day(self, day: int) -> Iterator[Anomaly]:
        back, usual = self._usual(self.company, min(self.first_days.values(), default=day), day)
        expected = self._expected(self.company, back, usual, day)
        if expected and expected.cents > 0:
            yield from self._compared(None, None, day, self.company.cents.get(day, 0), expected)
        history = {
            place: self._usual(series, self.first_days[place], day) for place, series in sorted(self.places.items())
        }
        of_places = {
            place: self._expected(self.places[place], back, usual, day) for place, (back, usual) in history.items()
        }
        common = self._common(of_places, day)
        for place, item in of_places.items():
            yield from self._of_place(place, day, item, common, *history[place]) if item else ()
        for (place, seller), series in sorted(self.sellers.items()):
            if expected := self._of_seller(series, *history[place], day):
                scaled = Expected(half_up(expected.cents * common, MILLION), expected.spread)
                if scaled.cents > 0:
                    yield from self._compared(place, seller, day, series.cents[day], scaled)

    def _of_place(
        self, place: int | str, day: int, expected: Expected, common: int, back: list[int], usual: dict[int, int]
    ) -> Iterator[Anomaly]:
        series = self.places[place]
        if day not in series.cents and self._has_gaps(series, back, usual):
            return
        value, scaled = series.cents.get(day, 0), half_up(expected.cents * common, MILLION)
        if expected.cents == 0 and value > 0:
            self.count += 1
            yield Anomaly(place, None, day, value, 0, 0, 0, None, CLOSED_DAY)
        elif scaled > 0 and series.had_lines(day):
            reason = None if day in series.cents else NO_LINES
            yield from self._compared(place, None, day, value, Expected(scaled, expected.spread), reason)

    def _has_gaps(self, series: _Series, back: list[int], usual: dict[int, int]) -> bool:
        """Return whether days without a line are common on the weekdays of a place: it is small."""
        open_days = [day for day in back if usual[self._weekday(day)] > 0]
        return sum(day not in series.cents for day in open_days) * _GAPS > len(open_days)

    def _common(self, of_places: Mapping[int | str, Expected | None], day: int) -> int:
        """Return the ratio to what is expected that all places have in common on a day."""
        ratios = [
            half_up(max(self.places[place].cents.get(day, 0), 0) * MILLION, item.cents)
            for place, item in of_places.items()
            if item and item.cents > 0
        ]
        return median(ratios) if len(ratios) >= _PLACES else MILLION

    def _weekday(self, day: int) -> int:
        return (self.weekday + day) % 7

    def _usual(self, series: _Series, first: int, day: int) -> tuple[list[int], dict[int, int]]:
        """Return the days that a day is compared with, and the usual cents of each weekday."""
        start = max(first, day - 7 * self.limits.weeks)
        back = [other for other in range(day - 1, start - 1, -1) if other not in self.events]
        by_weekday: dict[int, list[int]] = {}
        for other in back:
            by_weekday.setdefault(self._weekday(other), []).append(series.cents.get(other, 0))
        return back, {weekday: median(values) for weekday, values in by_weekday.items()}

    def _expected(self, series: _Series, back: list[int], usual: dict[int, int], day: int) -> Expected | None:
        """Return what a day is expected to bring; None if it cannot be judged, no cents if its weekday has no sales."""
        same = [series.cents.get(other, 0) for other in back if self._weekday(other) == self._weekday(day)]
        if len(same) < _WEEKS:
            self.too_little += 1
            return None
        if usual[self._weekday(day)] <= 0:
            return None if any(same) else Expected(0, MILLION)
        return self._scaled(series, back, usual, day)

    def _scaled(self, series: _Series, back: list[int], usual: dict[int, int], day: int) -> Expected:
        """Return the usual cents of a weekday at the level of the last days, with the spread of all days before."""
        lately, factors = [], []
        for other in back:
            cents, of_weekday = series.cents.get(other, 0), usual[self._weekday(other)]
            if cents <= 0 or of_weekday <= 0:
                continue
            factors.append(_factor(cents, of_weekday))
            if other >= day - LATELY:
                lately.append(half_up(cents * MILLION, of_weekday))
        level = median(lately) if lately else MILLION
        return Expected(half_up(usual[self._weekday(day)] * level, MILLION), max(median(factors), _STEADIEST))

    def _of_seller(self, series: _Series, back: list[int], usual: dict[int, int], day: int) -> Expected | None:
        """Return what a seller is expected to take in on a day with a line: a share of the place's weekdays."""
        if day not in series.cents:
            return None
        shares = [
            half_up(series.cents[other] * MILLION, usual[self._weekday(other)])
            for other in back
            if other in series.cents and usual[self._weekday(other)] > 0
        ]
        if len(shares) < _SELLER_DAYS:
            self.too_little += 1
            return None
        share = median(shares)
        if share <= 0 or usual.get(self._weekday(day), 0) <= 0:
            return None
        own = {weekday: half_up(cents * share, MILLION) for weekday, cents in usual.items()}
        return self._scaled(series, back, own, day)

    def _compared(
        self,
        place: int | str | None,
        seller: int | str | None,
        day: int,
        value: int,
        expected: Expected,
        reason: int | None = None,
    ) -> Iterator[Anomaly]:
        self.count += 1
        beyond = compared(value, expected, self.limits, with_lower=seller is None)
        if beyond:
            lower, upper, score = beyond
            reason = (ABOVE if value > expected.cents else BELOW) if reason is None else reason
            yield Anomaly(place, seller, day, value, expected.cents, lower, upper, score, reason)


def compared(value: int, expected: Expected, limits: Limits, with_lower: bool) -> tuple[int | None, int, int] | None:
    """Return the limits and the score of a value that is beyond them; None if it is not."""
    factor = MILLION
    for _ in range(limits.spread):
        factor = half_up(factor * expected.spread, MILLION)
    upper = half_up(expected.cents * factor, MILLION)
    lower = half_up(expected.cents * MILLION, factor) if with_lower else None
    off = abs(value - expected.cents)
    if not (value > upper or (lower is not None and value < lower)):
        return None
    if off * MILLION < limits.least_share * expected.cents or off < limits.least_cents:
        return None
    return lower, upper, score_of(value, expected)


def score_of(value: int, expected: Expected) -> int:
    """Return ln(value / expected) / ln(spread) in hundredths, within 99.99."""
    if value <= 0:
        return -_LARGEST_SCORE
    score = floor(log(value / expected.cents) / log(expected.spread / MILLION) * 100 + 0.5)
    return max(-_LARGEST_SCORE, min(score, _LARGEST_SCORE))


def unusual_returns(sellers: Sequence[SellerReturns], limits: Limits) -> list[Anomaly]:
    """Return the sellers whose returns, as a share of their sales, are above those of all with returns.

    Values are percent with two digits.
    """
    shares = {
        item.seller: half_up(item.returned_cents * MILLION, item.bought_cents)
        for item in sellers
        if item.bought_cents > 0 and item.returned_cents > 0
    }
    if len(shares) < _SELLERS:
        return []
    usual = median(list(shares.values()))
    factors = [_factor(share, usual) for share in shares.values()]
    expected = Expected(half_up(usual, 100), max(median(factors), _STEADIEST_SHARE))
    anomalies = []
    for item in sorted(sellers, key=lambda item: item.seller):
        if item.returns < _RETURNS or item.seller not in shares:
            continue
        value = half_up(shares[item.seller], 100)
        if beyond := compared(value, expected, limits, with_lower=False):
            lower, upper, score = beyond
            anomalies.append(Anomaly(None, item.seller, 0, value, expected.cents, lower, upper, score, MORE_RETURNS))
    return anomalies
