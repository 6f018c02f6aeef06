"""The snapshots of a generated bank: customers and accounts at the end of each month, and what they refer to."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from marts.banking.bank import (
    CATEGORIES,
    CHANNELS,
    CITIES,
    CLEARING,
    FIRST_DAY,
    MERCHANTS,
    SEGMENTS,
    Bank,
    account_of,
    customers_on,
    money,
    texts,
    write,
    write_rows,
)

_FIRST_NAMES = (
    "Achieng Amina Anders Bao Carmen Daniel Elena Farah Giulia Hamid Ingrid Joseph Kofi Lin Marta Mehmet Nora Otieno "
    "Paulo Quynh Rania Samuel Tomas Urmila Victor Wanjiru Ximena Yara Zoë"
).split()
_LAST_NAMES = (
    "Abebe Andersson Brandt Castro Diop Eriksen Ferrari Gonzalez Hassan Ivanova Johansson Kamau Lindgren Moreau Nguyen "
    "Odhiambo Pereira Qureshi Rossi Schneider Tran Usman Virtanen Weber Yilmaz Zhang"
).split()
_STREETS = ("Bank Street", "Harbour Road", "Mill Lane", "Park Avenue", "River Walk")


def write_references(bank: Bank) -> None:
    """Write merchants, channels and cities; a fee changes, and so do some merchants."""
    numbers = range(MERCHANTS)
    merchants = [
        (n + 501, f"{CATEGORIES[bank.category[n]][0]} {n + 501}", *CATEGORIES[bank.category[n]][:2]) for n in numbers
    ]
    first = f"date={FIRST_DAY}"
    write_rows(bank, f"merchants/{first}/merchants.csv", ("merchant_id", "merchant_name", "category", "mcc"), merchants)
    cities = [
        (n, f"City {n}", f"State {n % 5 + 1}", ("North", "South", "Coast")[n % 5 % 3]) for n in range(1, CITIES + 1)
    ]
    write_rows(bank, f"cities/{first}/cities.csv", ("city_id", "city_name", "state", "region"), cities)
    names = ("channel_id", "channel_name", "fee_percent")
    channels = [(n + 1, *channel) for n, channel in enumerate(CHANNELS)]
    write_rows(bank, f"channels/{first}/channels.csv", names, channels)
    middle = FIRST_DAY + timedelta(bank.days // 2)
    write_rows(bank, f"channels/date={middle}/channels.csv", names, [(1, "Mobile", "0.75"), *channels[1:]])
    moved = [("u", n + 501, f"{merchants[n][1]} (new)", "Gambling", "7995") for n in (3, 4)]
    write_rows(
        bank, f"merchants/date={middle}/changes.csv", ("op", "merchant_id", "merchant_name", "category", "mcc"), moved
    )


def write_snapshots(bank: Bank, day: int) -> None:
    """Write the customers and accounts at the end of a month: new ones, changes, and no longer those who left."""
    people, today = bank.people, FIRST_DAY + timedelta(day)
    month = (today.year - FIRST_DAY.year) * 12 + today.month
    alive = customers_on(bank, day + 1)
    people.segment[alive[(alive * 7 + month) % 97 == 0]] = 2  # some become Premium
    names = [f"{_FIRST_NAMES[n % len(_FIRST_NAMES)]} {_LAST_NAMES[n // 7 % len(_LAST_NAMES)]}" for n in alive.tolist()]
    street = [
        f"{n % 90 + 1} {_STREETS[(n + (month if n % 61 == month % 61 else 0)) % len(_STREETS)]}" for n in alive.tolist()
    ]
    since = [FIRST_DAY + timedelta(int(n)) if n >= 0 else date(2019, 1, 1) for n in people.joins[alive]]
    customers = pa.table(
        {
            "customer_id": texts("", alive + 1),
            "full_name": pa.array(names),
            "email": pa.array(
                [f"{name.split()[0].lower()}.{n + 1}@example.org" for name, n in zip(names, alive, strict=True)]
            ),
            "phone": pa.array([f"+1 555 {n:07d}" for n in alive.tolist()]),
            "address": pa.array(street),
            "city_id": texts("", people.home[alive]),
            "segment": pa.array(SEGMENTS).take(pa.array(people.segment[alive])),
            "status": pa.array(["ACTIVE"] * len(alive)),
            "registration_date": pa.array([item.isoformat() for item in since]),
            "credit_score": texts("", 500 + (alive * 37 + month) % 300),
            "monthly_income": money(people.salary[alive]),
        }
    )
    write(bank, f"customers/date={today}/customers.csv", customers)
    loans = alive[alive % 10 == 0]
    accounts = pa.table(
        {
            "account_id": texts("", np.concatenate([account_of(alive), 2_000_000_000 + loans, [CLEARING]])),
            "customer_id": texts(
                "",
                np.concatenate([alive + 1, loans + 1, [0]]),
                np.arange(len(alive) + len(loans) + 1) < len(alive) + len(loans),
            ),
            "account_type": pa.array(["CHECKING"] * len(alive) + ["LOAN"] * len(loans) + ["INTERNAL"]),
            "status": pa.array(["ACTIVE"] * (len(alive) + len(loans) + 1)),
            "currency": pa.array(["USD"] * (len(alive) + len(loans) + 1)),
            "balance": money(np.concatenate([people.balance[alive], people.salary[loans] * 6, [bank.clearing]])),
            "interest_rate": pa.array(["0.50"] * len(alive) + ["7.25"] * len(loans) + [""]),
        }
    )
    write(bank, f"accounts/date={today}/accounts.csv", accounts)
    bank.truth["snapshots"] += 2
