"""Rows in quarantine are never lost: they can be looked at, repaired, put back, and a held drop can be released."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.kit import CUSTOMERS, SALES, STORES, Place, line, marts, sales

from jobs.report.run_report import RunReport

BROKEN = [line("B1", total="1.00"), line("B2", day="tomorrow"), line("B3", quantity=0), "B4,1,121"]
WHAT = "2024-01-10,1,10.00,1,10.00"


@pytest.fixture
def fed(place: Place) -> Place:
    place.put_dimensions()
    place.put("sales/day.csv", sales(*(line(f"A{n}") for n in range(400)), *BROKEN))
    return place


def flags(place: Place) -> list[str]:
    settings = place.configured()
    (place.folder / "strict.toml").write_text("max_bad_rows = 0\n")
    places = ["--source", str(settings.source), "--target", str(settings.target), "--state", str(settings.state)]
    return [*places, "--policy", str(place.folder / "strict.toml")]


def command(place: Place, *arguments: str, code: int = 0) -> str:
    return marts("quarantine", *arguments, *flags(place), code=code).stdout


def totals(report: RunReport) -> tuple[int, int, int]:
    """Check the arithmetic of a run; give rows read, clean and in quarantine."""
    counts = report.totals
    assert counts.rows_read == counts.clean + counts.quarantined + counts.duplicates
    return counts.rows_read, counts.clean, counts.quarantined


def exported(place: Place) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(command(place, "export", "sales/day.csv"))))


def write(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def repaired(place: Place) -> list[dict[str, str]]:
    """Repair the first two rows of the export; leave the third as it is, and the fourth out."""
    rows = exported(place)[:3]
    rows[0]["total_cost"] = "10.00"
    rows[1]["sales_date"] = "2024-01-11"
    return rows


def test_an_empty_quarantine_is_reported(place: Place) -> None:
    place.put_golden()
    place.build()
    assert "no row is in quarantine" in command(place, "list")


def test_rows_are_listed_and_shown_with_line_reasons_and_text(fed: Place) -> None:
    fed.build()
    (listed,) = json.loads(command(fed, "list", "--json"))
    assert (listed["drop"], listed["rows"], listed["quarantined"], listed["held"]) == ("sales/day.csv", 404, 4, "")
    rows = json.loads(command(fed, "show", "day.csv", "--json"))
    assert [row["line"] for row in rows] == [402, 403, 404, 405]
    assert [row["raw"] for row in rows] == BROKEN
    assert rows[0]["reasons"] == ["total_cost is not price * quantity: 1.00"]
    assert "sales/day.csv: 4 rows in quarantine" in command(fed, "show", "sales/day.csv", "--limit", "1")
    assert "and 3 more" in command(fed, "show", "sales/day.csv", "--limit", "1")


def test_what_is_live_is_listed_though_the_files_are_touched_moved_or_removed(fed: Place) -> None:
    fed.build()
    before = command(fed, "list", "--json")
    assert json.loads(before)
    assert marts("quarantine", "list", *flags(fed)).stderr == ""
    (fed.source / "sales/day.csv").chmod(0o660)
    listed = marts("quarantine", "list", *flags(fed), "--json")
    assert listed.stdout == before
    assert "1 drop has changed since the last publication, which is listed here; see marts plan" in listed.stderr
    assert [row["raw"] for row in json.loads(command(fed, "show", "day.csv", "--json"))] == BROKEN
    assert len(exported(fed)) == len(BROKEN)
    fed.put("sales/other.csv", sales(line("N1")))
    (fed.source / "sales/day.csv").unlink()
    listed = marts("quarantine", "list", *flags(fed), "--json")
    assert (listed.stdout, "2 drops have changed" in listed.stderr) == (before, True)


def test_a_drop_that_is_held_stays_listed_though_its_file_is_touched_and_is_accepted_after_a_build(fed: Place) -> None:
    fed.put("sales/bad.csv", sales(line("N1"), line("N2", day="never")))
    fed.build()
    (fed.source / "sales/bad.csv").chmod(0o660)
    assert {entry["drop"]: bool(entry["held"]) for entry in json.loads(command(fed, "list", "--json"))} == {
        "sales/day.csv": False,
        "sales/bad.csv": True,
    }
    refused = marts("quarantine", "accept", "bad.csv", "--why", "known", *flags(fed), code=2).exception
    assert "has changed since" in str(refused)
    fed.build()
    command(fed, "accept", "bad.csv", "--why", "known")


def test_a_list_before_the_first_publication_or_without_the_state_reports_it(fed: Place) -> None:
    warehouse = fed.warehouse()
    warehouse.prepare()
    warehouse.close()
    assert "nothing is published yet" in marts("quarantine", "list", *flags(fed)).stderr
    fed.build()
    shutil.rmtree(fed.folder / "state")
    assert "no longer contains the scans of 4 of the live drops" in marts("quarantine", "list", *flags(fed)).stderr


def test_drops_that_were_read_together_have_their_own_rows(fed: Place) -> None:
    """One task reads small drops, and writes what is wrong with all of them into one file."""
    fed.put("sales/next.csv", sales(line("N1"), line("N2", day="never")))
    fed.put("stores/stores.csv", STORES + "x,nowhere\n")
    fed.policy = fed.policy.model_copy(update={"max_bad_ratio": 1.0})
    fed.build()
    files = sorted(path.parent.parent.name for path in (fed.folder / "state/quarantine").rglob("*.parquet"))
    assert files == ["sales", "stores"]
    assert [row["raw"] for row in json.loads(command(fed, "show", "day.csv", "--json"))] == BROKEN
    (row,) = json.loads(command(fed, "show", "next.csv", "--json"))
    assert (row["line"], "N2" in row["raw"]) == (3, True)
    assert len(exported(fed)) == len(BROKEN)


def test_many_bad_rows_are_written_before_their_task_ends(fed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.steps.quarantine_files._BAD_IN_MEMORY", 300)
    fed.put("sales/next.csv", sales(line("N1"), line("N2", day="never")))
    fed.put("sales/last.csv", sales(line("L1"), line("L2", day="never")))
    fed.policy = fed.policy.model_copy(update={"max_bad_ratio": 1.0})
    assert totals(fed.build()) == (408, 402, 6)
    files = sorted(path.name for path in (fed.folder / "state/quarantine/sales").rglob("*.parquet"))
    assert files == ["00000.parquet", "00001.parquet"], "a large one at once, and two small ones together"
    for drop, rows in {"day.csv": 4, "next.csv": 1, "last.csv": 1}.items():
        assert len(json.loads(command(fed, "show", drop, "--json"))) == rows


def test_a_shared_file_goes_with_the_last_drop_that_has_rows_in_it(fed: Place) -> None:
    last = fed.put("sales/next.csv", sales(line("N1"), line("N2", day="never")))
    fed.policy = fed.policy.model_copy(update={"max_bad_ratio": 1.0})
    fed.settings["drops"] = {"withdrawals": "apply"}
    fed.build()
    (shared,) = (fed.folder / "state/quarantine/sales").rglob("*.parquet")
    (fed.source / "sales/day.csv").unlink()
    fed.build()
    marts("vacuum", *flags(fed))
    assert shared.exists()
    assert "N2" in command(fed, "show", "next.csv", "--json")
    last.unlink()
    fed.put("sales/other.csv", sales(line("N1")))
    fed.build()
    marts("vacuum", *flags(fed))
    assert not shared.exists()


def test_lines_are_those_of_the_file_also_if_several_tasks_read_it(fed: Place) -> None:
    fed.settings["limits"] = {"split_bytes": 1 << 10}
    fed.build()
    assert [row["line"] for row in json.loads(command(fed, "show", "day.csv", "--json"))] == [402, 403, 404, 405]


def test_personal_data_is_shown_only_if_asked_for(fed: Place) -> None:
    fed.put(
        "customers/more.csv", CUSTOMERS + "".join(f"{n},Ann,Lee,,,,\n" for n in range(10, 100)) + "x,Zoe,Quist,,,,\n"
    )
    fed.build()
    assert "x,xxx,xxxxx,,,," in command(fed, "show", "more.csv")
    assert "x,Zoe,Quist,,,," in command(fed, "show", "more.csv", "--reveal")


def test_repaired_rows_take_their_drop_s_place(fed: Place, tmp_path: Path) -> None:
    assert totals(fed.build()) == (404, 400, 4)
    done = command(fed, "replay", "day.csv", write(tmp_path / "r.csv", repaired(fed)), "--who", "ann", "--why", "typo")
    assert "2 rows are clean now, 1 stay in quarantine" in done
    assert "line 404: quantity is 0: 0" in done
    report = fed.build()
    assert totals(report) == (404, 402, 2)
    assert report.outcome == "published"
    assert fed.mart("customers")[0][5] == 4020
    assert [row["line"] for row in json.loads(command(fed, "show", "day.csv", "--json"))] == [404, 405]
    assert fed.build().outcome == "unchanged"
    warehouse = fed.warehouse()
    (decision,) = warehouse.decisions()
    warehouse.close()
    assert (decision.who, decision.action, decision.why, decision.object_key) == (
        "ann",
        "repair",
        "typo",
        "sales/day.csv",
    )


def test_repairs_survive_the_loss_of_the_state(fed: Place, tmp_path: Path) -> None:
    fed.build()
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", repaired(fed)))
    fed.build()
    live = fed.marts()
    shutil.rmtree(fed.folder / "state")
    report = fed.build()
    assert (totals(report), fed.marts()) == ((404, 402, 2), live)


def test_a_second_repair_adds_to_the_first(fed: Place, tmp_path: Path) -> None:
    fed.build()
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", repaired(fed)))
    fed.build()
    rows = exported(fed)
    assert [row["quarantine_line"] for row in rows] == ["404", "405"]
    rows[0] |= {"quantity": "1", "total_cost": "10.00"}
    command(fed, "replay", "day.csv", write(tmp_path / "s.csv", rows[:1]))
    assert totals(fed.build()) == (404, 403, 1)


def test_a_repaired_row_that_repeats_another_is_a_duplicate(fed: Place, tmp_path: Path) -> None:
    fed.build()
    rows = exported(fed)[:1]
    rows[0] |= {"transaction_id": "A1", "total_cost": "10.00"}
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", rows))
    report = fed.build(policy=fed.policy.model_copy(update={"equal_lines": "drop"}))
    assert (totals(report), report.totals.duplicates) == ((404, 400, 3), 1)


def test_rows_that_changed_rules_accept_are_put_back_without_a_file(fed: Place) -> None:
    fed.build()
    (fed.folder / "policy.toml").write_text("total_cost_tolerance = 9.00\n")
    own = ["--policy", str(fed.folder / "policy.toml")]
    done = marts("quarantine", "replay", "day.csv", *flags(fed), *own).stdout
    assert "1 rows are clean now, 3 stay in quarantine" in done
    from marts.policy import Policy

    report = fed.build(policy=Policy(total_cost_tolerance="9.00"))  # type: ignore[arg-type]
    assert totals(report) == (404, 401, 3)


def test_a_replay_that_changes_nothing_reports_it(fed: Place) -> None:
    fed.build()
    assert "nothing was changed" in command(fed, "replay", "day.csv", code=65)


def test_a_new_version_of_a_drop_forgets_its_repairs(fed: Place, tmp_path: Path) -> None:
    fed.build()
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", repaired(fed)))
    fed.put("sales/day.csv", sales(*(line(f"A{n}") for n in range(500)), BROKEN[0]))
    assert totals(fed.build()) == (501, 500, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quarantine_line": "2"}, "line 2 of the drop is not in quarantine"),
        ({"quarantine_line": "two"}, "not a line number"),
    ],
)
def test_a_repaired_file_that_does_not_fit_is_refused(
    fed: Place, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    fed.build()
    rows = [{**repaired(fed)[0], **change}]
    result = marts("quarantine", "replay", "day.csv", write(tmp_path / "r.csv", rows), *flags(fed), code=65)
    assert message in str(result.exception)


def test_a_repaired_file_needs_the_columns_of_the_drop(fed: Place, tmp_path: Path) -> None:
    fed.build()
    (tmp_path / "r.csv").write_text("quarantine_line,price\n402,1\n")
    result = marts("quarantine", "replay", "day.csv", str(tmp_path / "r.csv"), *flags(fed), code=65)
    assert "missing columns: transaction_id, customer_id" in str(result.exception)


@pytest.fixture
def customers(fed: Place) -> Place:
    """A place whose customers have one row in quarantine: that of customer 1."""
    fed.policy = fed.policy.model_copy(update={"max_unknown_ratio": 1.0})
    rows = "".join(f"{n},A,L,,,,\n" for n in range(10, 99))
    fed.put("customers/more.csv", CUSTOMERS.replace("1,Asha", "x,Asha") + rows)
    fed.build()
    assert fed.mart("customers")[0][1] == "UNKNOWN"
    return fed


def repair_customer(place: Place, path: Path, key: str, code: int = 0) -> str:
    rows = list(csv.DictReader(io.StringIO(command(place, "export", "more.csv"))))
    rows[0]["customer_id"] = key
    return command(place, "replay", "more.csv", write(path / "c.csv", rows), code=code)


def test_a_row_of_a_dimension_can_be_repaired(customers: Place, tmp_path: Path) -> None:
    repair_customer(customers, tmp_path, "1")
    assert customers.build().outcome == "published"
    assert customers.mart("customers")[0][1] == "Asha Rao"


def test_a_repair_does_not_bring_a_key_that_is_there_already(customers: Place, tmp_path: Path) -> None:
    done = repair_customer(customers, tmp_path, "2", code=65)
    assert "duplicate customer_id: 2" in done
    repair_customer(customers, tmp_path, "1")
    assert customers.build().exit_code == 0


def test_a_line_can_be_repaired_again(fed: Place, tmp_path: Path) -> None:
    fed.build()
    rows = exported(fed)[:1]
    rows[0] |= {"price": "70.00", "total_cost": "70.00"}
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", rows))
    fed.build()
    assert fed.mart("customers")[0][5] == 4070
    rows[0] |= {"price": "7.00", "total_cost": "7.00"}
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", rows))
    assert totals(fed.build()) == (404, 401, 3)
    assert fed.mart("customers")[0][5] == 4007


def test_a_row_whose_bytes_are_not_kept_cannot_be_put_back_as_it_is(place: Place) -> None:
    place.put_dimensions()
    rows = sales(*(line(f"A{n}") for n in range(99))).encode()
    place.put("sales/day.csv", rows + line("A99", product="caf?").encode().replace(b"?", b"\xff") + b"\n")
    place.build()
    assert "is not UTF-8 text" in command(place, "replay", "day.csv", code=65)


def test_repairs_stay_while_their_drop_is_judged_by_older_rules(fed: Place, tmp_path: Path) -> None:
    fed.build()
    rows = repaired(fed)[:2]
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", rows))
    fed.build()
    (fed.folder / "suites").mkdir()
    strict = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "price", "max_value": 5}}
    (fed.folder / "suites/sales.json").write_text(json.dumps({"expectations": [strict]}))
    fed.settings["expectations"] = str(fed.folder / "suites")
    assert totals(fed.build()) == (404, 402, 2)


def test_a_repair_that_changed_rules_overrule_is_reported(fed: Place, tmp_path: Path) -> None:
    from marts.policy import Policy

    fed.build()
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", repaired(fed)[:1]))
    fed.build()
    report = fed.build(policy=Policy(total_cost_tolerance="9.00"), rescan=True)  # type: ignore[arg-type]
    assert "sales/day.csv: 1 repaired rows count as delivered because changed rules accept them" in report.warnings


@pytest.mark.parametrize("data", [b"quarantine_line\n\xe9\n", b"", b'quarantine_line,"a\x00\n'])
def test_a_repaired_file_that_cannot_be_read_is_refused(fed: Place, tmp_path: Path, data: bytes) -> None:
    fed.build()
    (tmp_path / "r.csv").write_bytes(data)
    assert marts("quarantine", "replay", "day.csv", str(tmp_path / "r.csv"), *flags(fed), code=65).exception


def test_a_reason_of_the_user_s_own_does_not_get_in_the_way(place: Place, tmp_path: Path) -> None:
    place.put_dimensions()
    (place.folder / "suites").mkdir()
    kwargs = {"column": "price", "max_value": 40, "mostly": 0.999}
    rule = {"type": "expect_column_values_to_be_between", "kwargs": kwargs, "meta": {"reason": "price: too high: look"}}
    (place.folder / "suites/sales.json").write_text(json.dumps({"expectations": [rule]}))
    place.settings["expectations"] = str(place.folder / "suites")
    place.put("sales/day.csv", sales(*(line(f"A{n}") for n in range(99)), line("A99", price="50.00")))
    place.put("sales/b.csv", sales(line("B1")))
    assert place.build().totals.held_rows == 100
    Path("marts.toml").write_text(f'expectations = "{place.folder}/suites"\n')
    rows = exported(place)
    rows[0] |= {"price": "5.00", "total_cost": "5.00"}
    command(place, "replay", "day.csv", write(tmp_path / "r.csv", rows))
    assert totals(place.build()) == (101, 101, 0)


@pytest.fixture
def held(fed: Place) -> Place:
    fed.put("sales/held.csv", sales(*(line(f"H{n}") for n in range(10)), BROKEN[0]))
    return fed


def test_repaired_rows_that_were_no_csv_release_a_held_drop(fed: Place, tmp_path: Path) -> None:
    fed.put("sales/held.csv", sales(*(line(f"H{n}") for n in range(10)), "H10,1,121"))
    assert fed.build().totals.held_rows == 11
    rows = list(csv.DictReader(io.StringIO(command(fed, "export", "held.csv"))))
    good = dict(zip(SALES.split(","), line("H10").split(","), strict=True))
    command(fed, "replay", "held.csv", write(tmp_path / "r.csv", [rows[0] | good]))
    assert totals(fed.build()) == (415, 411, 4)


def test_a_held_drop_is_released_with_who_and_why(held: Place) -> None:
    report = held.build()
    assert (report.exit_code, totals(report), report.totals.held_rows) == (65, (404, 400, 4), 11)
    done = command(held, "accept", "held.csv", "--why", "the supplier knows", "--who", "ann")
    assert "accepted sales/held.csv, by ann: the supplier knows" in done
    after = held.build()
    assert (after.exit_code, totals(after)) == (0, (415, 410, 5))
    warehouse = held.warehouse()
    (decision,) = warehouse.decisions()
    warehouse.close()
    assert (decision.action, decision.who, decision.why) == ("accept", "ann", "the supplier knows")


def test_enough_repairs_release_a_held_drop(held: Place, tmp_path: Path) -> None:
    held.build()
    rows = list(csv.DictReader(io.StringIO(command(held, "export", "held.csv"))))
    rows[0]["total_cost"] = "10.00"
    command(held, "replay", "held.csv", write(tmp_path / "r.csv", rows))
    assert totals(held.build()) == (415, 411, 4)


def test_a_release_is_for_one_version_of_a_drop(held: Place) -> None:
    held.build()
    command(held, "accept", "held.csv", "--why", "once")
    held.put("sales/held.csv", sales(*(line(f"H{n}") for n in range(8)), BROKEN[0]))
    assert held.build().totals.held_rows == 9


@pytest.mark.parametrize(
    ("drop", "why", "message"),
    [("day.csv", "x", "is not held"), ("nothing.csv", "x", "no drop has this key"), ("held.csv", " ", "is empty")],
)
def test_only_a_held_drop_can_be_released_and_with_a_reason(held: Place, drop: str, why: str, message: str) -> None:
    held.build()
    result: Any = marts("quarantine", "accept", drop, "--why", why, *flags(held), code=2)
    assert message in str(result.exception)


def test_a_repair_is_written_once_and_again_if_its_rows_are_gone(fed: Place, tmp_path: Path) -> None:
    fed.build()
    command(fed, "replay", "day.csv", write(tmp_path / "r.csv", repaired(fed)))
    fed.build()
    (rows,) = (fed.folder / "state/lines").rglob("repair-*.parquet")
    written = rows.stat().st_mtime_ns
    fed.build()
    assert rows.stat().st_mtime_ns == written
    shutil.rmtree(fed.folder / "state/facts")
    rows.unlink()
    assert totals(fed.build()) == (404, 402, 2)
    assert rows.is_file()
