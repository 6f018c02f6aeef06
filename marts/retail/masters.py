"""Generate the dimensions of a company: its customers, sales people and stores, as rows of CSV with a header.

A row depends on its number only, so that tables of any size agree.
"""

from itertools import product

import numpy as np

from marts.retail.lives import PEOPLE_PER_STORE

FIRST_STORE = 101
_FIRST_NAMES = (
    "Aarav Ada Amara Ana Asha Ben Björn Chen Chitra Daria Dev Elif Emeka Fatima Finn Gita Hana Ines Ivan Jamal "
    "Jonas Kenji Lara Leila Luca Maya Mei Nadia Noah Olu Priya Rahul Rosa Sana Sofia Tariq Uma Vera Yusuf Zoë"
).split()
_LAST_NAMES = (
    "Adeyemi Ahmed Bauer Costa Das Diallo Fischer García Haddad Ito Iyer Jansen Kaya Khan Kim Kowalski Larsen Li "
    "Mbeki Meyer Nair Novak Okafor Osei Patel Petrov Rao Reyes Rossi Sato Schmidt Sharma Silva Singh Tanaka Verma"
).split()
_STREETS = "Market Street,Lake Road,Hill Lane,Station Road,Mill Street,Garden Avenue,Harbour Way".split(",")
_STATES = {
    "North": ("Highmoor", "Northcoast"),
    "South": ("Southdowns", "Palmshire"),
    "East": ("Eastmarch", "Rivermouth"),
    "West": ("Westlands", "Ridgeway"),
}
"""States of each region; a state has as many cities as there are ends of names."""
_CITIES = (
    "Alder Birch Cedar Dover Elm Fern Grange Haven Iris Juniper Kings Laurel Maple North Oak Pine Queens Rowan Stone "
    "Thorn Umber Vale Willow York"
).split()
_ENDS = ("ford", "bury", "port")


def customers(ids: np.ndarray) -> list[list[str]]:
    """Return customers of these ids."""
    header = "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date"
    return [header.split(",")] + [
        [str(n), *_name(n, 1), _street(n), f"{n % 90000 + 10000}", f"+00 {n % 1000:03d} {n:06d}", "2023-11-05"]
        for n in ids.tolist()
    ]


def people(ids: np.ndarray) -> list[list[str]]:
    """Return sales people of these ids; the first of each store is the manager of the others."""
    header = "id,first_name,last_name,manager_id,is_manager,address,pincode,joining_date"
    return [header.split(",")] + [
        [
            str(n),
            *_name(n, 7),
            str((n - 1) // PEOPLE_PER_STORE * PEOPLE_PER_STORE + 1),
            "NY"[n % PEOPLE_PER_STORE == 1],
            _street(n),
            "",
            "2022-03-01",
        ]
        for n in ids.tolist()
    ]


def stores(count: int) -> list[list[str]]:
    """Return so many stores: the first ones are in different regions, then states, then cities."""
    header = "id,name,address,city,state,region,store_pincode,store_manager_name,store_opening_date,reviews"
    rows = []
    for number in range(count):
        n, (city, state, region) = number + FIRST_STORE, _place(number)
        address, manager = f'"{_street(n)}, ground floor"', " ".join(_name(n, 3))
        where = [f"{city} {number // len(_PLACES) + 1}", address, city, state, region]
        rows.append([str(n), *where, f"{n:05d}", manager, "2019-05-01", '"friendly, ""busy"""'])
    return [header.split(","), *rows]


def _places() -> list[tuple[str, str, str]]:
    """Return city, state and region of places, in the order in which stores open there."""
    regions = list(_STATES.items())
    order = product(range(len(_ENDS)), range(2), regions)
    return [
        (f"{_CITIES[number]}{_ENDS[end]}", states[place], region)
        for number, (end, place, (region, states)) in enumerate(order)
    ]


_PLACES = _places()


def _place(number: int) -> tuple[str, str, str]:
    return _PLACES[number % len(_PLACES)]


def _name(number: int, salt: int) -> tuple[str, str]:
    mixed = (number * 2654435761 + salt) % 2**32
    return _FIRST_NAMES[mixed % len(_FIRST_NAMES)], _LAST_NAMES[mixed // 97 % len(_LAST_NAMES)]


def _street(number: int) -> str:
    return f"{number % 180 + 1} {_STREETS[number % len(_STREETS)]}"
