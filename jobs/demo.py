"""The demo: realistic drops, both marts in an embedded file, and what came out. No server, no account."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from jobs import render
from jobs.generate import generate
from jobs.ledger import Warehouse
from jobs.report import RunReport
from marts.errors import UsageError

_TOP = 8


def prepare(folder: Path, lines: int, seed: int, progress: Callable[[], None]) -> tuple[dict[str, str], date]:
    """Make the drops; give the settings of the demo's build, and its as_of."""
    drops = folder / "drops"
    if folder.exists() and any(folder.iterdir()) and not (drops / "generated.json").is_file():
        raise UsageError("is not empty, and not of an earlier demo", str(folder), "choose another with --folder")
    shutil.rmtree(drops, ignore_errors=True)
    truth = generate(drops, lines, seed, progress)
    target = f"duckdb://{(folder / 'marts.duckdb').absolute()}"
    return {"source": str(drops), "target": target}, date.fromisoformat(str(truth["as_of"]))


def outcome(folder: Path, report: RunReport, warehouse: Warehouse) -> RenderableType:
    """Show what came out, for people rather than for scripts."""
    top = warehouse.execute(
        "SELECT DISTINCT customer_id, full_name, customer_lifetime_value, purchase_frequency, last_purchase_month, "
        f"customer_segment FROM customers_data_mart ORDER BY customer_lifetime_value DESC, customer_id LIMIT {_TOP}"
    )
    ((month,),) = warehouse.execute("SELECT max(sales_month) FROM sales_team_data_mart")
    leaders = warehouse.execute(
        "SELECT store_id, sales_person_id, full_name, total_sales, incentive, sales_contribution_percentage "
        "FROM sales_team_data_mart WHERE sales_month = ? AND top_performance_rank = 1 ORDER BY 1, 2",
        [month],
    )
    customers = ("customer", "name", "lifetime value", "purchases", "last", "segment")
    stores = ("store", "person", "name", "sales", "incentive", "% of store")
    return Group(
        render.report(report),
        Text(""),
        render.table("top customers", customers, [(str(row[0]), *row[1:]) for row in top], (0, 2, 3)),
        Text(""),
        render.table(
            f"leaders of {month}, by store",
            stores,
            [(str(row[0]), str(row[1]), *row[2:]) for row in leaders],
            (0, 1, 3, 4, 5),
        ),
        Text(""),
        _next(folder),
    )


def _next(folder: Path) -> Text:
    source, target = folder / "drops", f"duckdb://{folder}/marts.duckdb"
    return Text(
        "what next\n"
        f"  look at the drops            ls {source}/sales\n"
        f"  what is live, the last runs  marts status --target {target}\n"
        f"  change or remove a drop, then see what that changes, and do it\n"
        f"      marts plan  --source {source} --target {target}\n"
        f"      marts build --source {source} --target {target} --as-of 2025-12-31\n"
        f"  bad rows, with reasons       marts quarantine list --source {source} --target {target}\n"
        f"  data quality, page by page   {folder}/_marts/docs/index.html\n"
        "  your own data                marts init"
    )
