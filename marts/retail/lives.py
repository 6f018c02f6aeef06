"""Draw baskets: customers who come, buy at a rate of their own and leave, stores with weekdays, and planted faults."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

PEOPLE_PER_STORE = 8
_SEASON = (0.85, 0.8, 0.95, 1.0, 1.0, 0.9, 0.85, 0.95, 1.0, 1.1, 1.35, 1.6)
_WEEKDAYS = (0.9, 0.85, 0.9, 0.95, 1.15, 1.4, 1.3)
_FEASTS = {(1, 1): 0.2, (5, 1): 0.4, (12, 23): 1.7, (12, 24): 1.5, (12, 25): 0.2, (12, 26): 0.5}
_BLACK_FRIDAY = 2.2
_EARLIER = 0.4
"""Share of customers who came in the year before the first day."""
_MEAN_LIFE = 420.0
"""Median of the mean days from first to last purchase."""
_ELSEWHERE = (0.05, 0.35)
"""Share of baskets bought away from the store at home: lowest and highest, by store and weekday."""
_FALL, _RISE = 0.15, 6
_RETURNS, _MANY_RETURNS = 0.02, 0.3
_RETURN_DAYS = 28
_LARGE, _LARGEST = 3, 100
"""Planted purchases, and by how much their quantities are multiplied."""
_REGULAR = 10
"""Purchases in a year, after which the own ones say what is usual."""


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
        weights[self.outage] *= _FALL
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
    stay = random.exponential(_MEAN_LIFE * random.lognormal(0, 0.6, customers))
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
    """Plant one fault of each sort, in the last month. Return the baskets after it."""
    last = calendar.days - 1
    chosen = random.permutation(stores)[:5]
    closed, fell, rose, keen, careless = (int(chosen[number % len(chosen)]) for number in range(5))
    days = {name: last - number for name, number in (("closed", 18), ("fell", 13), ("rose", 20), ("keen", 16))}
    own = baskets.person[baskets.person // PEOPLE_PER_STORE == keen]
    person = int(np.bincount(own).argmax())  # who sells most varies least
    returner = careless * PEOPLE_PER_STORE + 3
    moved = ((baskets.store == closed) & (baskets.day == days["closed"])) | (
        (baskets.store == fell) & (baskets.day == days["fell"]) & (random.random(len(baskets.day)) > _FALL)
    )
    others = np.setdiff1d(np.arange(stores), [closed, fell])
    store = np.where(moved, others[random.integers(0, len(others), len(moved))], baskets.store)
    anybody = store * PEOPLE_PER_STORE + random.integers(0, PEOPLE_PER_STORE, len(moved))
    people = np.where(moved, anybody, baskets.person)
    taken = (store == keen) & (baskets.day == days["keen"])
    people = np.where(taken, person, people)
    quantity = np.where(taken | ((store == rose) & (baskets.day == days["rose"])), _RISE, 1)
    often = (people == returner) & (baskets.day > last - _RETURN_DAYS)
    after = replace(baskets, store=store, person=people)
    large = _large(random, after, last, quantity)
    quantity[large] = _LARGEST
    faults = (
        Fault("company", -1, -1, calendar.outage, "sales", "below"),
        Fault("store", closed, closed, days["closed"], "sales", "no sales"),
        Fault("store", fell, fell, days["fell"], "sales", "below"),
        Fault("store", rose, rose, days["rose"], "sales", "above"),
        Fault("store", keen, keen, days["keen"], "sales", "above"),
        Fault("sales_person", person, keen, days["keen"], "sales", "above"),
        Fault("sales_person", returner, -1, last, "returns", "returns above others"),
        *(
            Fault(
                "purchase", int(after.customer[n]), int(store[n]), int(baskets.day[n]), "sales", "above own purchases"
            )
            for n in large
        ),
    )
    return after, Planted(faults, quantity, np.where(often, _MANY_RETURNS, _RETURNS))


def _large(random: np.random.Generator, baskets: Baskets, last: int, quantity: np.ndarray) -> np.ndarray:
    """Choose baskets of the last month whose customers bought often in the year before, and nothing else planted."""
    bought = np.bincount(baskets.customer[(baskets.day > last - 365) & (baskets.day <= last - 31)])
    regular = np.flatnonzero(bought >= _REGULAR)
    recent = np.flatnonzero((baskets.day > last - 31) & np.isin(baskets.customer, regular) & (quantity == 1))
    return np.sort(random.choice(recent, min(_LARGE, len(recent)), replace=False))


def _people(random: np.random.Generator, store: np.ndarray, stores: int) -> np.ndarray:
    """Draw who sold each basket: most of the store's people, by how much each sells, few of others."""
    skill = np.cumsum(random.lognormal(0, 0.5, (stores, PEOPLE_PER_STORE)), axis=1)
    drawn = random.random(len(store)) * skill[store, -1]
    person = store * PEOPLE_PER_STORE + (skill[store] < drawn[:, None]).sum(axis=1)
    guests = random.random(len(store)) < 0.05
    return np.where(guests, random.integers(0, stores * PEOPLE_PER_STORE, len(store)), person)


def _weight(day: date) -> float:
    friday = _BLACK_FRIDAY if day.month == 11 and day.weekday() == 4 and 22 < day.day <= 29 else 1.0
    return _SEASON[day.month - 1] * _WEEKDAYS[day.weekday()] * _FEASTS.get((day.month, day.day), 1.0) * friday
