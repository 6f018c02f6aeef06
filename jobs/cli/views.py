"""`marts customers …` and `marts sales …`: query the live marts without SQL."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Config, Json, Target, Wide, configured, opened, show
from marts.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.operations.views import Rows
    from jobs.ports.warehouse import Warehouse

customers = typer.Typer(help="Query the Customers data mart.", no_args_is_help=True)
sales = typer.Typer(help="Query the Sales Team data mart.", no_args_is_help=True)

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV on stdout, safe to open in a spreadsheet")]
Limit = Annotated[int, typer.Option(min=1, help="Number of rows to show")]
Month = Annotated[str | None, typer.Option(metavar="YYYY-MM", help="The last month with sales by default")]


@customers.command("top")
def customers_top(
    limit: Limit = 10,
    target: Target = None,
    config: Config = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """List the customers with the highest lifetime value."""
    from jobs.operations.views import top_customers

    _show_rows(lambda warehouse: top_customers(warehouse, limit), target, config, as_json, as_csv, wide)


@customers.command("show")
def customers_show(
    customer: Annotated[int, typer.Argument(metavar="ID", help="The customer_id")],
    target: Target = None,
    config: Config = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Show one customer, month by month."""
    from jobs.operations.views import one_customer

    _show_rows(lambda warehouse: one_customer(warehouse, customer), target, config, as_json, as_csv, wide, upright=True)


@sales.command("top")
def sales_top(
    month: Month = None,
    limit: Limit = 10,
    target: Target = None,
    config: Config = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """List the leader of each store in a month, with the incentive."""
    from jobs.operations.views import leaders

    _show_rows(lambda warehouse: leaders(warehouse, month, limit), target, config, as_json, as_csv, wide)


@sales.command("show")
def sales_show(
    store: Annotated[int, typer.Argument(metavar="STORE", help="The store_id")],
    month: Month = None,
    target: Target = None,
    config: Config = None,
    as_json: Json = False,
    as_csv: Csv = False,
    wide: Wide = False,
) -> None:
    """Show the sales team of one store in a month, by rank."""
    from jobs.operations.views import one_store

    _show_rows(
        lambda warehouse: one_store(warehouse, store, month), target, config, as_json, as_csv, wide, upright=True
    )


def _show_rows(
    query: "Callable[[Warehouse], Rows]",
    target: str | None,
    config: str | None,
    as_json: bool,
    as_csv: bool,
    wide: bool,
    upright: bool = False,
) -> None:
    from jobs.cli import render

    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", "arguments", "choose one")
    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        rows = query(warehouse)
    if as_json:
        typer.echo(json.dumps(rows.as_objects(), indent=2))
    elif as_csv:
        typer.echo(rows.as_csv(), nl=False)
    else:
        show(render.upright(rows) if upright else render.rows(rows), stdout=True, wide=wide)
