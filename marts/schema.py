"""Definition of every source column and every mart column.

CSV types, checks, table definitions, documentation and tests are derived from this module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SourceType = Literal["id", "integer", "quantity", "price", "money", "amount", "date", "text", "yes_no"]
"""How a CSV value is parsed.

id: whole number > 0 · integer: whole number · quantity: decimal, not 0, at most 4 digits after the point ·
price: decimal, at most 6 digits after the point · money: decimal >= 0, at most 2 digits · amount: the same, may be
negative · trailing zeros do not count as digits ·
date: ISO date or timestamp · text: 1 to ``max_length`` characters · yes_no: Y or N
"""

MartType = Literal["id", "text", "month", "money", "rate", "count", "flag"]

DIGITS: Mapping[str, int] = {"price": 6, "quantity": 4, "money": 2, "amount": 2, "rate": 2}
"""Digits after the point by type; values are stored as whole numbers of the last digit."""
_IGNORED = re.compile(r"[\s_\ufeff]+")
UNITS = {2: "cents", 4: "ten_thousandths", 6: "millionths"}
"""Name of the unit by number of digits."""


def plain_name(name: str) -> str:
    """Return the name of a column without case, blanks and underscores: names are compared so."""
    return _IGNORED.sub("", name).lower()


@dataclass(frozen=True)
class SourceColumn:
    """One column of a drop."""

    name: str
    type: SourceType
    help: str
    mandatory: bool = True
    """Whether the header must contain it."""
    nullable: bool = False
    """Whether a value may be empty."""
    max_length: int = 255
    """Maximum characters of a text."""
    personal: bool = False
    """Whether it is personal data: masked wherever values are shown."""
    guests: bool = False
    """Whether an empty value, or one of the policy's unknown_ids, means a guest."""


@dataclass(frozen=True)
class Kind:
    """One kind of drop: a folder under the source."""

    name: str
    columns: tuple[SourceColumn, ...]
    key: str | None = None
    """The unique key of a dimension; sales have none."""

    def column(self, name: str) -> SourceColumn:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class MartColumn:
    """One column of a mart."""

    name: str
    type: MartType
    help: str
    null_when: str = ""
    """Condition under which a value is NULL; never NULL if empty."""
    max_length: int = 255
    personal: bool = False

    @property
    def nullable(self) -> bool:
        return bool(self.null_when)


@dataclass(frozen=True)
class Mart:
    """One data mart: a table in the target."""

    name: str
    table: str
    columns: tuple[MartColumn, ...]
    key: tuple[str, ...]


def _optional(name: str, type_: SourceType, help_: str, max_length: int = 255, personal: bool = False) -> SourceColumn:
    return SourceColumn(name, type_, help_, mandatory=False, nullable=True, max_length=max_length, personal=personal)


EXTRA = "additional_columns"
"""Column of clean rows with the columns that are not in the schema, as JSON."""

SALES = Kind(
    "sales",
    (
        SourceColumn("customer_id", "id", "who bought; empty or an unknown id: a guest", nullable=True, guests=True),
        SourceColumn("store_id", "id", "where"),
        SourceColumn("product_name", "text", "what", max_length=1000),
        SourceColumn("sales_date", "date", "when; a timestamp with an offset is converted to the business time zone"),
        SourceColumn("sales_person_id", "id", "who sold"),
        SourceColumn("price", "price", "of one piece; negative only where returns are allowed"),
        SourceColumn("quantity", "quantity", "pieces, litres, kilograms; negative for a return"),
        SourceColumn("total_cost", "amount", "price * quantity, rounded half up to cents"),
        _optional("transaction_id", "text", "the basket"),
        _optional("line_no", "integer", "the line of the basket"),
        _optional("payment_mode", "text", "how it was paid"),
        _optional("currency", "text", "not converted; several stop the run (`mixed_currencies` in the policy)"),
    ),
)

CUSTOMERS = Kind(
    "customers",
    (
        SourceColumn("customer_id", "id", "key"),
        SourceColumn("first_name", "text", "first name", personal=True),
        SourceColumn("last_name", "text", "last name, if there is one", nullable=True, personal=True),
        _optional("address", "text", "street and town", 1000, personal=True),
        _optional("pincode", "text", "postal code", personal=True),
        _optional("phone_number", "text", "phone", personal=True),
        _optional("customer_joining_date", "date", "first known on"),
    ),
    key="customer_id",
)

STORES = Kind(
    "stores",
    (
        SourceColumn("id", "id", "key"),
        _optional("address", "text", "street and town", 1000),
        _optional("store_pincode", "text", "postal code"),
        _optional("store_manager_name", "text", "manager", personal=True),
        _optional("store_opening_date", "date", "opened on"),
        _optional("reviews", "text", "customer reviews", 10_000, personal=True),
    ),
    key="id",
)

SALES_TEAM = Kind(
    "sales_team",
    (
        SourceColumn("id", "id", "key"),
        SourceColumn("first_name", "text", "first name", personal=True),
        SourceColumn("last_name", "text", "last name, if there is one", nullable=True, personal=True),
        _optional("manager_id", "id", "the manager's id"),
        _optional("is_manager", "yes_no", "Y or N"),
        _optional("address", "text", "street and town", 1000, personal=True),
        _optional("pincode", "text", "postal code", personal=True),
        _optional("joining_date", "date", "joined on"),
    ),
    key="id",
)

PRODUCTS = Kind(
    "products",
    (
        SourceColumn("id", "id", "key"),
        SourceColumn("name", "text", "name", max_length=1000),
        _optional("current_price", "money", "now"),
        _optional("old_price", "money", "before"),
        _optional("created_date", "date", "created on"),
        _optional("updated_date", "date", "changed on"),
        _optional("expiry_date", "date", "sold until"),
    ),
    key="id",
)

DIMENSIONS = (CUSTOMERS, STORES, SALES_TEAM, PRODUCTS)
KINDS = {kind.name: kind for kind in (SALES, *DIMENSIONS)}

CUSTOMERS_MART = Mart(
    "customers",
    "customers_data_mart",
    (
        MartColumn("customer_id", "id", "The customer."),
        MartColumn(
            "full_name",
            "text",
            "First and last name in the current customers table; `UNKNOWN` if the customer is not in it.",
            max_length=511,
            personal=True,
        ),
        MartColumn(
            *("address", "text", "Address in the current customers table.", "the table has none"),
            max_length=1000,
            personal=True,
        ),
        MartColumn(
            *("phone_number", "text", "Phone number in the current customers table.", "the table has none"),
            personal=True,
        ),
        MartColumn("sales_date_month", "month", "The month. A customer has one row per month with any line."),
        MartColumn("total_sales", "money", "Sum of total_cost in the month, less returns. May be zero or negative."),
        MartColumn("customer_lifetime_value", "money", "Sum of total_cost of all months up to as_of, less returns."),
        MartColumn("first_purchase_month", "month", "Month of the first purchase.", "there are only returns"),
        MartColumn("last_purchase_month", "month", "Month of the last purchase.", "there are only returns"),
        MartColumn("purchase_frequency", "count", "Number of purchases (baskets) up to as_of."),
        MartColumn(
            *("monetary_value", "money", "Average purchase: customer_lifetime_value / purchase_frequency."),
            "there are only returns",
        ),
        MartColumn(
            "avg_monthly_spending", "money", "customer_lifetime_value / number of months in which there is any line."
        ),
        MartColumn("max_single_transaction", "money", "Largest purchase, as a whole basket.", "there are only returns"),
        MartColumn(
            "avg_time_between_purchases",
            "rate",
            "Days between the first and the last purchase date / (number of different purchase dates - 1).",
            "there are purchases on fewer than two days",
        ),
        MartColumn(
            "inactive_status",
            "flag",
            "TRUE if the last purchase is more than `inactive_after_days` before as_of, or if there is none.",
        ),
        MartColumn("customer_segment", "text", "Name of the first segment of the policy that fits.", max_length=64),
    ),
    key=("customer_id", "sales_date_month"),
)

SALES_TEAM_MART = Mart(
    "sales_team",
    "sales_team_data_mart",
    (
        MartColumn("store_id", "id", "The store."),
        MartColumn("sales_person_id", "id", "The sales person."),
        MartColumn(
            "full_name",
            "text",
            "First and last name in the current sales_team table; `UNKNOWN` if the person is not in it.",
            max_length=511,
            personal=True,
        ),
        MartColumn("sales_month", "month", "The month. A person has one row per store and month with any line."),
        MartColumn("total_sales", "money", "Sum of total_cost in the month, less returns. May be zero or negative."),
        MartColumn(
            "avg_sales_per_month",
            "money",
            "The person's total over all stores and months / number of months in which the person has any line.",
        ),
        MartColumn(
            "top_performance_rank",
            "count",
            "Rank by total_sales within store and month: 1 is the leader, ties share a rank, no rank is skipped.",
        ),
        MartColumn(
            "incentive", "money", "`incentive_rate` of total_sales for a leader with positive sales, 0 for all others."
        ),
        MartColumn(
            "month_over_month_variance",
            "money",
            "total_sales less that of the calendar month before; a month without lines counts as 0.",
            "it is the first month",
        ),
        MartColumn(
            "sales_growth_rate",
            "rate",
            "month_over_month_variance in percent of the month before.",
            "there is no month before, or its total is not positive",
        ),
        MartColumn("year_to_date_sales", "money", "Sum of total_sales from January of the year to the month."),
        MartColumn("first_sale_month", "month", "First month in which the person has any line, in any store."),
        MartColumn("last_sale_month", "month", "Last month in which the person has any line, in any store."),
        MartColumn(
            "total_transactions",
            "count",
            "Purchases in the month. A basket that two persons share counts once for each of them.",
        ),
        MartColumn(
            "avg_transaction_value", "money", "total_sales / total_transactions.", "there is no purchase in the month"
        ),
        MartColumn(
            *("max_single_transaction", "money", "Largest purchase of the month."), "there is no purchase in the month"
        ),
        MartColumn(
            "sales_contribution_percentage",
            "rate",
            "total_sales in percent of the store's total of the month.",
            "the store's total is not positive",
        ),
    ),
    key=("store_id", "sales_person_id", "sales_month"),
)

MARTS = {mart.name: mart for mart in (CUSTOMERS_MART, SALES_TEAM_MART)}

SYNONYMS: Mapping[str, Mapping[str, str]] = {
    SALES.name: {
        "customer_id": "customer, customer no, customer number, client id, cust key, "
        "buyer id, kunde, kundennummer, kunden nr, kunnr, account id",
        "store_id": "store, store no, store key, location id, branch id, "
        "shop id, filiale, werks, filialnummer, outlet id",
        "product_name": "product, item, item name, lineitem name, article, "
        "artikel, maktx, description, artikelbezeichnung, product description",
        "sales_date": "date, order date, created at, transaction date, sold at, "
        "datum, belegdatum, fkdat, posting date, invoice date",
        "sales_person_id": "sales person, salesperson id, employee id, clerk id, seller id, "
        "pernr, staff id, verkäufer, verkäufernummer, employee key",
        "price": "unit price, lineitem price, price each, preis, einzelpreis, netpr, unit amount",
        "quantity": "qty, lineitem quantity, units, menge, anzahl, fkimg, pieces",
        "total_cost": "total, amount, line total, total amount, sum, "
        "summe, gesamt, netwr, net amount, gesamtpreis, line amount",
        "transaction_id": "order id, order no, invoice no, receipt no, receipt, "
        "transaction, bon nr, vbeln, belegnummer, order name, order key",
        "line_no": "line, line number, position, posnr",
        "payment_mode": "payment method, payment, tender, zahlungsart, zlsch",
        "currency": "currency code, währung, waerk",
    },
    CUSTOMERS.name: {
        "customer_id": "id, customer, customer no, customer number, client id, "
        "cust key, kunde, kundennummer, kunden nr, kunnr, account id",
        "first_name": "given name, forename, vorname, name2, fname",
        "last_name": "surname, family name, nachname, name1, lname",
        "address": "street, address 1, strasse, straße, stras",
        "pincode": "zip, zip code, postal code, postcode, plz, pstlz",
        "phone_number": "phone, telephone, mobile, telefon, telf1",
        "customer_joining_date": "created at, since, customer since, kunde seit, erdat, joined on",
    },
    STORES.name: {
        "id": "store id, store, store no, store key, location id, branch id, filiale, filialnummer, werks",
        "address": "street, address 1, strasse, straße, stras",
        "store_pincode": "zip, zip code, postal code, postcode, plz, pstlz",
        "store_manager_name": "manager, manager name, leiter, filialleiter",
        "store_opening_date": "opened on, opening date, eröffnet, eröffnung",
    },
    SALES_TEAM.name: {
        "id": "salesperson id, employee id, employee key, clerk id, "
        "staff id, pernr, verkäufer, verkäufernummer, personalnummer",
        "first_name": "given name, forename, vorname, fname, vorna",
        "last_name": "surname, family name, nachname, lname, nachn",
        "manager_id": "manager, reports to, vorgesetzter",
        "is_manager": "manager flag, leiter",
        "address": "street, address 1, strasse, straße, stras",
        "pincode": "zip, zip code, postal code, postcode, plz, pstlz",
        "joining_date": "hired on, hire date, eintritt, begda, joined on",
    },
    PRODUCTS.name: {
        "id": "product id, product key, article no, artikelnummer, matnr, sku",
        "name": "product name, product, article, artikel, maktx, title, description",
    },
}
"""Names that other systems have for the columns of a kind, most likely first: for proposals."""
