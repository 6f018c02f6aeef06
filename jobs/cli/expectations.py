"""The rules of data quality."""

import json
from typing import Annotated, Any

import typer

from jobs.cli.options import Config, Folder, Json, PolicyFile, Wide, configured, show
from jobs.config.load import load_policy
from marts.errors import UsageError

expectations = typer.Typer(help="Data quality rules, in words.", no_args_is_help=True)


@expectations.command("list")
def expectations_list(
    name: Annotated[
        str | None, typer.Argument(help="sales, customers, …, customers_data_mart, …; all by default")
    ] = None,
    config: Config = None,
    policy: PolicyFile = None,
    folder: Folder = None,
    types: Annotated[bool, typer.Option("--types", help="List what can be asked instead, with its arguments")] = False,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """Describe each rule in words: its severity, what it looks at, and who asks for it."""
    from jobs.cli import render
    from jobs.config.suites import check_suites
    from marts.quality.rule_types import type_words

    if types:
        show(render.rule_types(type_words()), stdout=True, wide=wide)
        return
    settings = configured(config, policy=policy, expectations=folder)
    suites = check_suites(settings.expectations, load_policy(settings))
    if name is not None and name not in suites:
        raise UsageError(f"there is no suite {name!r}", "expectations", f"there are {', '.join(suites)}")
    wanted = [suite for key, suite in suites.items() if name in (None, key)]
    if as_json:
        results = [
            {"suite": suite.name, **rule.entry(), "words": rule.words, "level": rule.level, "contract": rule.contract}
            for suite in wanted
            for rule in suite.rules
        ]
        typer.echo(json.dumps(results, indent=2, default=str))
    else:
        show(render.suites(wanted), stdout=True, wide=wide)


@expectations.command("check")
def expectations_check(config: Config = None, policy: PolicyFile = None, folder: Folder = None) -> None:
    """Check every suite against the columns, and let Great Expectations plan it. Names what cannot run."""
    from jobs.config.suites import check_suites

    settings = configured(config, policy=policy, expectations=folder)
    suites = check_suites(settings.expectations, load_policy(settings))
    from jobs.steps.quality import plan_suites

    for suite, metrics in plan_suites(suites.values()):
        typer.echo(f"ok {suite.name}: {len(suite.rules)} rules, {metrics} metrics")


@expectations.command("add")
def expectations_add(
    name: Annotated[str, typer.Argument(help="sales, customers, stores, sales_team, products, or …_data_mart")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="such as expect_column_values_to_be_between")],
    arguments: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="One argument; VALUE is JSON or text")
    ],
    severity: Annotated[str, typer.Option(help="critical, warning or info")] = "warning",
    description: Annotated[str | None, typer.Option(help="Said instead of the generated words")] = None,
    config: Config = None,
    policy: PolicyFile = None,
    folder: Folder = None,
) -> None:
    """Add one rule to a suite in your folder; it is checked before it is written."""
    from jobs.operations.suites import add, parse_arguments

    settings = configured(config, policy=policy, expectations=folder)
    entry: dict[str, Any] = {"type": type_, "kwargs": parse_arguments(arguments), "severity": severity}
    if description:
        entry["description"] = description
    path = add(name, entry, settings.expectations, load_policy(settings))
    typer.echo(f"added to {path}; changed rules apply to new drops, and to the others with marts build --rescan")
