"""Draw baskets: customers who come, buy at a rate of their own and leave, stores with weekdays, and planted faults."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

PEOPLE_PER_STORE = 8
_NEWEST = 0.2
"""Share of its store's baskets that the newest person may sell: of five stores, a build refuses more."""
_SEASON = (0.85, 0.8, 0.95, 1.0, 1.0, 0.9, 0.85, 0.95, 1.0, 1.1, 1.35, 1.6)
_WEEKDAYS = (0.9, 0.85, 0.9, 0.95, 1.15, 1.4, 1.3)
_FEASTS = {(1, 1): 0.2, (5, 1): 0.4, (12, 23): 1.7, (12, 24): 1.5, (12, 25): 0.2, (12, 26): 0.5}
_BLACK_FRIDAY = 2.2
_EARLIER = 0.4
"""Share of customers who came in the year before the first day."""
_STAY = 420.0
"""Median over customers of the mean days between coming and leaving."""
_ELSEWHERE = (0.05, 0.35)
"""Share of baskets bought away from the store at home: lowest and highest, by store and weekday."""
_SOLD_LEFT, _SOLD_MORE = 0.15, 6
"""What is left of the sales of a planted day that falls, and by how much a day that rises is multiplied."""
_RETURNED, _RETURNED_MORE = 0.02, 0.3
"""Share of lines that come back: of all people, and of the one with many returns."""
_RETURN_DAYS = 28
_LARGE, _TIMES_LARGE = 3, 100
"""Number of planted purchases, and by how much their quantities are multiplied."""
_OFTEN = 10
"""Purchases of a customer in the eleven months before the last, after which the own ones say what is usual."""


@dataclass(frozen=True)
class Calendar:
    """Days that baskets are spread over, and what is planted on them; days count from the first."""

    first: date
    days: int
    outage: int
    """Day on which all stores sold little."""

    def weights(self) -> np.ndarray:
        """Return how much is bought on each day: season, weekday, feasts, growth and the outage."""
        dates = [self.first + timedelta(days=number) for number in range(self.days)]
        weights = np.array([_weight(day) * (1 + number / self.days) for number, day in enumerate(dates)])
        weights[self.outage] *= _SOLD_LEFT
        return weights

    def weekday(self, day: np.ndarray) -> np.ndarray:
        return (day + self.first.weekday()) % 7


@dataclass(frozen=True)
class Baskets:
    """Baskets in the order of their days; customer, store and person count from 0."""

    day: np.ndarray
    customer: np.ndarray
    store: np.ndarray
    person: np.ndarray


@dataclass(frozen=True)
class Fault:
    """What was planted, with the key of its row among the anomalies; ids count from 0, -1 stands for none."""

    entity: str
    entity_id: int
    store: int
    day: int
    measure: str
    reason: str


@dataclass(frozen=True)
class Planted:
    """Faults, and what they do to the lines of baskets."""

    faults: tuple[Fault, ...]
    quantity: np.ndarray
    """By basket: what the quantities of its lines are multiplied by."""
    returned: np.ndarray
    """By basket: the share of its lines that come back."""


def draw(random: np.random.Generator, count: int, customers: int, stores: int, calendar: Calendar) -> Baskets:
    """Draw baskets of customers, each bought between the customer's first and last day, most of them at home."""
    upto = np.concatenate([[0.0], np.cumsum(calendar.weights())])
    start = np.sort(
        np.where(
            random.random(customers) < _EARLIER,
            -365 * random.random(customers),
            calendar.days * random.random(customers),
        )
    )
    stay = random.exponential(_STAY * random.lognormal(0, 0.6, customers))
    ends = np.clip(np.stack([start, start + stay]), 0, calendar.days - 1).astype(np.int64)
    begin, end = upto[ends[0]], upto[ends[1] + 1]
    end = np.where(start + stay < 0, begin, end)
    often = random.gamma(0.9, 1.0, customers) * (end - begin)
    customer = random.choice(customers, count, p=often / often.sum())
    at = begin[customer] + random.random(count) * (end - begin)[customer]
    day = np.clip(np.searchsorted(upto, at, side="right") - 1, 0, calendar.days - 1)
    order = np.argsort(day, kind="stable")
    day, customer = day[order], customer[order]
    size = random.lognormal(0, 0.3, stores)
    home = random.choice(stores, customers, p=size / size.sum())
    away = random.uniform(*_ELSEWHERE, (stores, 7))[home[customer], calendar.weekday(day)]
    store = np.where(random.random(count) < away, random.choice(stores, count, p=size / size.sum()), home[customer])
    return Baskets(day, customer, store, _people(random, store, stores))


def plant(random: np.random.Generator, baskets: Baskets, stores: int, calendar: Calendar) -> tuple[Baskets, Planted]:
    """Plant one fault of each sort in the last month, in five stores. Return the baskets after it.

    A fault that changes no basket is not listed: few baskets have none of a store on a day.
    """
    last = calendar.days - 1
    days = {"closed": last - 18, "fell": last - 13, "rose": last - 20, "keen": last - 16}
    closed, fell, rose, keen, careless = random.permutation(stores)[:5].tolist()
    rows = {
        "closed": (baskets.store == closed) & (baskets.day == days["closed"]),
        "fell": (baskets.store == fell)
        & (baskets.day == days["fell"])
        & (random.random(len(baskets.day)) > _SOLD_LEFT),
        "outage": baskets.day == calendar.outage,
    }
    others = np.setdiff1d(np.arange(stores), [closed, fell])
    elsewhere = others[random.integers(0, len(others), len(baskets.day))]
    anybody = elsewhere * PEOPLE_PER_STORE + random.integers(0, PEOPLE_PER_STORE, len(elsewhere))
    moved = rows["closed"] | rows["fell"]
    store = np.where(moved, elsewhere, baskets.store)
    person = np.where(moved, anybody, baskets.person)
    rows["rose"] = (store == rose) & (baskets.day == days["rose"])
    rows["keen"] = (store == keen) & (baskets.day == days["keen"])
    own = baskets.person[baskets.person // PEOPLE_PER_STORE == keen] - keen * PEOPLE_PER_STORE
    seller = keen * PEOPLE_PER_STORE + int(np.bincount(own, minlength=1).argmax())  # who sells most varies least
    returner = careless * PEOPLE_PER_STORE + 3
    person = np.where(rows["keen"], seller, person)
    rows["careless"] = (person == returner) & (baskets.day > last - _RETURN_DAYS)
    after = replace(baskets, store=store, person=person)
    quantity = np.where(rows["rose"] | rows["keen"], _SOLD_MORE, 1)
    large = _large(random, after, last, np.any(list(rows.values()), axis=0))
    quantity[large] = _TIMES_LARGE
    returned = np.where(rows["careless"], _RETURNED_MORE, _RETURNED)
    returned[large] = 0.0
    faults = [
        (rows["outage"], Fault("company", -1, -1, calendar.outage, "sales", "below")),
        (rows["closed"], Fault("store", closed, closed, days["closed"], "sales", "no sales")),
        (rows["fell"], Fault("store", fell, fell, days["fell"], "sales", "below")),
        (rows["rose"], Fault("store", rose, rose, days["rose"], "sales", "above")),
        (rows["keen"], Fault("store", keen, keen, days["keen"], "sales", "above")),
        (rows["keen"], Fault("sales_person", seller, keen, days["keen"], "sales", "above")),
        (rows["careless"], Fault("sales_person", returner, -1, last, "returns", "returns above others")),
    ]
    purchases = [
        Fault("purchase", int(after.customer[n]), int(store[n]), int(baskets.day[n]), "sales", "above own purchases")
        for n in large
    ]
    listed = (*(fault for changed, fault in faults if changed.any()), *purchases)
    return after, Planted(listed, quantity, returned)


def unplanted(baskets: Baskets) -> Planted:
    """Return what lines of baskets are without a fault."""
    count = len(baskets.day)
    return Planted((), np.ones(count, np.int64), np.full(count, _RETURNED))


def _large(random: np.random.Generator, baskets: Baskets, last: int, planted: np.ndarray) -> np.ndarray:
    """Choose baskets of the last month without a fault, whose customers bought often before."""
    bought = np.bincount(baskets.customer[(baskets.day > last - 365) & (baskets.day <= last - 31)])
    regular = np.flatnonzero(bought >= _OFTEN)
    recent = np.flatnonzero((baskets.day > last - 31) & np.isin(baskets.customer, regular) & ~planted)
    return np.sort(random.choice(recent, min(_LARGE, len(recent)), replace=False))


def _people(random: np.random.Generator, store: np.ndarray, stores: int) -> np.ndarray:
    """Draw who sold each basket: most of the store's people, by how much each sells, few of others."""
    skill = random.lognormal(0, 0.5, (stores, PEOPLE_PER_STORE))
    newest = skill[-1]
    if newest[-1] > _NEWEST * newest.sum():  # the last one is not in the table of the sales team yet
        least = newest.argmin()
        newest[[least, -1]] = newest[[-1, least]]
    skill = np.cumsum(skill, axis=1)
    drawn = random.random(len(store)) * skill[store, -1]
    person = store * PEOPLE_PER_STORE + (skill[store] < drawn[:, None]).sum(axis=1)
    guests = random.random(len(store)) < 0.05
    return np.where(guests, random.integers(0, stores * PEOPLE_PER_STORE, len(store)), person)


def _weight(day: date) -> float:
    friday = _BLACK_FRIDAY if day.month == 11 and day.weekday() == 4 and 22 < day.day <= 29 else 1.0
    return _SEASON[day.month - 1] * _WEEKDAYS[day.weekday()] * _FEASTS.get((day.month, day.day), 1.0) * friday
