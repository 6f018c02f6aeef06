"""The example values: each renders in all modes, with its schedule, its day and a target of its own."""

import shlex
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charting import CHART, command, object_named, of_kind, parsed, rayjobs
from support.launching import ME

from jobs.config.packs import load_pack
from jobs.launch.launcher import manifest_of
from k8s import helm

EXAMPLES = {path.stem: path for path in sorted(CHART.glob("examples/*.yaml"))}
BUILDS = {
    "banking-daily": ("0 3 * * *", ["--as-of", "yesterday"]),
    "banking-weekly": ("0 4 * * 1", ["--mart", "customer_metrics", "--as-of", "monday"]),
    "banking-monthly": ("0 5 2 * *", ["--mart", "monthly_financial_report", "--as-of", "month-end"]),
}
"""Schedule and arguments of the build of each example."""


def rendered(name: str, mode: str) -> list[dict[str, Any]]:
    return parsed(helm.render(CHART, [EXAMPLES[name]], "--set", f"mode={mode}"))


def test_each_example_has_a_case() -> None:
    assert {*EXAMPLES} == {*BUILDS}


@pytest.mark.parametrize("name", BUILDS)
def test_an_example_renders_in_each_mode_with_its_schedule_and_its_day(name: str) -> None:
    schedule, arguments = BUILDS[name]
    for mode in ("rayjob", "submit", "local"):
        objects = rendered(name, mode)
        cronjob = object_named(objects, "CronJob", "martwright-build")
        assert (cronjob["spec"]["schedule"], cronjob["spec"]["timeZone"]) == (schedule, "Europe/Berlin")
        words = command(objects, "martwright-build")
        if mode == "rayjob":
            template = rayjobs(objects)["build"]
            assert template["spec"]["entrypoint"] == shlex.join(["marts", "build", *arguments])
        else:
            assert words[words.index("--") + 1 :] == arguments
        assert {key.removeprefix("martwright-") for key in of_kind(objects, "CronJob")} == {
            *("build", "vacuum", "watchdog"),
            *(["monthly"] if name == "banking-daily" else []),
        }


@pytest.mark.parametrize(
    ("name", "scheduled", "day"),
    [
        ("banking-daily", date(2024, 3, 1), "2024-02-29"),
        ("banking-weekly", date(2024, 3, 4), "2024-03-04"),
        ("banking-weekly", date(2024, 3, 6), "2024-03-04"),  # started by hand on a Wednesday
        ("banking-monthly", date(2024, 3, 2), "2024-02-29"),
        ("banking-monthly", date(2025, 1, 2), "2024-12-31"),
    ],
)
def test_a_launcher_makes_a_day_of_the_word(name: str, scheduled: date, day: str) -> None:
    template = rayjobs(rendered(name, "rayjob"))["build"]
    spec = manifest_of(template, ME, "uid", scheduled)["spec"]
    assert shlex.split(spec["entrypoint"])[-2:] == ["--as-of", day]
    assert spec["metadata"]["as_of"] == day


def test_releases_share_the_drops_and_nothing_that_a_build_writes() -> None:
    given = [yaml.safe_load(path.read_text()) for path in EXAMPLES.values()]
    assert len({values["source"] for values in given}) == 1
    for key in ("target", "state"):
        assert len({values[key] for values in given}) == len(given)
    pack = load_pack("banking")
    for values in given:
        assert values["settings"]["pack"] == pack.name
        assert [job["mart"] for job in values["jobs"] if job.get("mart") not in (None, *pack.marts)] == []


@pytest.mark.parametrize("name", BUILDS)
def test_the_heading_of_an_example_says_how_to_install_it(name: str) -> None:
    release = name.replace("banking", "bank")
    install = f"helm install {release} helm/martwright --namespace marts --values helm/martwright/examples/{name}.yaml"
    assert install in EXAMPLES[name].read_text()
    objects = parsed(helm.run("template", release, str(CHART), "--values", str(EXAMPLES[name])).stdout)
    assert len(of_kind(objects, "CronJob")) == (4 if name == "banking-daily" else 3)
    config = object_named(objects, "ConfigMap", f"{release}-martwright-config")["data"]["marts.toml"]
    assert tomllib.loads(config)["pack"] == "banking"


def test_a_date_may_be_written_without_quotes(tmp_path: Path) -> None:
    dated = tmp_path / "dated.yaml"
    dated.write_text("jobs: [{name: build, command: build, schedule: '@daily', asOf: 2025-12-31, args: [--rescan]}]")
    template = rayjobs(parsed(helm.render(CHART, [EXAMPLES["banking-daily"], dated])))["build"]
    assert template["spec"]["entrypoint"] == "marts build --as-of 2025-12-31 --rescan"
