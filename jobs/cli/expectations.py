"""`marts expectations …`: list, check and add data quality rules."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.options import Json, Wide, configured_policy, show, with_suites
from marts.errors import UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings

expectations = typer.Typer(help="List, check and add data quality rules.", no_args_is_help=True)


@expectations.command("list")
@with_suites
def expectations_list(
    settings: "Settings",
    name: Annotated[str | None, typer.Argument(help="A drop or a published table; all by default")] = None,
    types: Annotated[bool, typer.Option("--types", help="List the types of rules and their arguments instead")] = False,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """Describe each rule in words, with its severity, scope and origin."""
    from jobs.cli import render
    from jobs.config.suites import check_suites
    from marts.quality.rule_types import type_words

    if types:
        show(render.rule_types(type_words()), stdout=True, wide=wide)
        return
    suites = check_suites(settings.domain, settings.expectations, configured_policy(settings))
    if name is not None and name not in suites:
        raise UsageError(f"unknown suite {name!r}", "expectations", f"the suites are {', '.join(suites)}")
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
@with_suites
def expectations_check(settings: "Settings") -> None:
    """Check every suite against the columns and plan it with Great Expectations. Names rules that cannot run."""
    from jobs.config.suites import check_suites

    suites = check_suites(settings.domain, settings.expectations, configured_policy(settings))
    from jobs.steps.quality import plan_suites

    for suite, metrics in plan_suites(settings.domain, suites.values()):
        typer.echo(f"ok {suite.name}: {len(suite.rules)} rules, {metrics} metrics")


@expectations.command("add")
@with_suites
def expectations_add(
    name: Annotated[str, typer.Argument(help="A drop or a published table, of one of the suites")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Such as expect_column_values_to_be_between")],
    arguments: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="One argument; VALUE is JSON or text")
    ],
    settings: "Settings",
    severity: Annotated[str, typer.Option(help="critical, warning or info")] = "warning",
    description: Annotated[str | None, typer.Option(help="Text to show instead of the generated words")] = None,
) -> None:
    """Add one rule to a suite in your folder. A rule that cannot run is not added."""
    from jobs.operations.suites import add, parse_arguments

    entry: dict[str, Any] = {"type": type_, "kwargs": parse_arguments(arguments), "severity": severity}
    if description:
        entry["description"] = description
    path = add(settings.domain, name, entry, settings.expectations, configured_policy(settings))
    typer.echo(f"added to {path}; changed rules apply to new drops, and to the others with marts build --rescan")
