"""What the five dimensions of a bank consist of, as SQL: columns, rules, and where their ids are used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def whole(name: str) -> str:
    return f"TRY_CAST({name} AS BIGINT)"


def money(name: str) -> str:
    return f"TRY_CAST({name} AS DECIMAL(18,2))"


def percent(name: str) -> str:
    return f"TRY_CAST({name} AS DECIMAL(5,2))"


def day(name: str) -> str:
    return f"TRY_CAST({name} AS DATE)"


def text(name: str) -> str:
    return name


def word(name: str) -> str:
    return f"word({name})"


@dataclass(frozen=True)
class Dimension:
    """A kind of snapshots and the table that is published of it."""

    kind: str
    table: str
    key: str
    columns: Mapping[str, str]
    """Columns but the key, each with the SQL that types it."""
    published: Sequence[str]
    used: str
    """SQL of the ids that facts name."""
    worded: Sequence[str]
    """Columns that have a word in rows without a snapshot."""
    needed: Sequence[str]
    """Columns that must not be empty."""
    rules: str = "false"
    """SQL of what breaks a rule besides."""
    carried: Sequence[str] = ()
    """Columns whose change starts no version."""
    members: int = 1

    @property
    def durable(self) -> str:
        return self.key.replace("_id", "_key")

    def placeholders(self) -> dict[str, str]:
        """Return what the SQL scripts have in braces."""
        compared = [name for name in self.columns if name not in self.carried]
        texts = {name: expression for name, expression in self.columns.items() if expression != name}
        broken = [f"{name} IS NOT NULL AND {expression} IS NULL" for name, expression in texts.items()]
        broken += [f"{name} IS NULL OR trim({name}) = ''" for name in self.needed]
        return {
            "kind": self.kind,
            "table": self.table,
            "key": self.key,
            "durable": self.durable,
            "optional": ", ".join(f"NULL::VARCHAR AS {name}" for name in self.columns),
            "expressions": ", ".join(f"{expression} AS {name}" for name, expression in self.columns.items()),
            "bad": f"(wrong_id({self.key}) OR {self.key} IS NULL OR " + " OR ".join([*broken, self.rules]) + ")",
            "compared": ", ".join(compared),
            "last": ", ".join(f"arg_max_null({name}, day) AS {name}" for name in self.columns),
            "published": ", ".join(self.published),
            "used": self.used,
            "worded": ", ".join(f"word AS {name}" for name in self.worded),
            "members": str(self.members),
        }


DIMENSIONS = (
    Dimension(
        kind="customers",
        table="dim_customer",
        key="customer_id",
        columns={
            "full_name": text("full_name"),
            "status": word("status"),
            "email": text("email"),
            "phone": text("phone"),
            "address": text("address"),
            "country": text("country"),
            "city_id": whole("city_id"),
            "segment": text("segment"),
            "risk_category": text("risk_category"),
            "date_of_birth": day("date_of_birth"),
            "registration_date": day("registration_date"),
            "credit_score": whole("credit_score"),
            "monthly_income": money("monthly_income"),
        },
        published=(
            *("full_name", "email", "phone", "city_id", "segment", "status", "registration_date", "credit_score"),
            "monthly_income",
        ),
        used="SELECT customer_id FROM booked",
        worded=("full_name",),
        needed=("full_name", "status"),
        rules="word(status) NOT IN ('ACTIVE', 'INACTIVE', 'SUSPENDED')",
        carried=("credit_score", "monthly_income"),
    ),
    Dimension(
        kind="accounts",
        table="dim_account",
        key="account_id",
        columns={
            "customer_id": whole("customer_id"),
            "account_type": word("account_type"),
            "status": word("status"),
            "currency": word("currency"),
            "balance": money("balance"),
            "interest_rate": percent("interest_rate"),
            "opening_date": day("opening_date"),
        },
        published=("customer_id", "account_type", "status", "currency", "interest_rate", "opening_date", "balance"),
        used="SELECT account_id FROM booked UNION ALL SELECT related_account_id FROM booked "
        "UNION ALL SELECT account_id FROM entries",
        worded=("account_type", "status", "currency"),
        needed=("account_type", "status", "currency", "balance"),
        rules="word(account_type) NOT IN "
        "('CHECKING', 'SAVINGS', 'BUSINESS', 'INVESTMENT', 'CREDIT', 'LOAN', 'INTERNAL') "
        "OR word(status) NOT IN ('ACTIVE', 'INACTIVE', 'DORMANT', 'FROZEN', 'CLOSED') "
        f"OR word(account_type) <> 'INTERNAL' AND (customer_id IS NULL OR {money('balance')} < 0)",
        carried=("balance",),
        members=2,
    ),
    Dimension(
        kind="merchants",
        table="dim_merchant",
        key="merchant_id",
        columns={
            "merchant_name": text("merchant_name"),
            "category": text("category"),
            "mcc": text("mcc"),
            "country": text("country"),
            "city_id": whole("city_id"),
        },
        published=("merchant_name", "category", "mcc"),
        used="SELECT merchant_id FROM booked",
        worded=("merchant_name", "category"),
        needed=("merchant_name", "category"),
        members=2,
    ),
    Dimension(
        kind="channels",
        table="dim_channel",
        key="channel_id",
        columns={"channel_name": text("channel_name"), "fee_percent": percent("fee_percent")},
        published=("channel_name", "fee_percent"),
        used="SELECT channel_id FROM booked",
        worded=("channel_name",),
        needed=("channel_name", "fee_percent"),
        rules=f"NOT {percent('fee_percent')} BETWEEN 0 AND 100",
    ),
    Dimension(
        kind="cities",
        table="dim_city",
        key="city_id",
        columns={name: text(name) for name in ("city_name", "state", "region", "country")},
        published=("city_name", "state", "region"),
        used="SELECT city_id FROM booked",
        worded=("city_name",),
        needed=("city_name",),
    ),
)
