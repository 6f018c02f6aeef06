"""`marts monthly`: the report of a month, its revisions, and the mail that brings it."""

import hashlib
import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.dashboards import HEADER, company, company_of
from support.kit import Place, line, marts, sales
from support.post import MailServer
from support.served import Served
from support.servers import MariaDB

from jobs.adapters.store.folder import Folder
from jobs.pages.revisions import as_bytes

pytestmark = pytest.mark.usefixtures("all_marts")
LATE = f"{line('Late', 2, 121, 'tea', '2024-02-20', 1, '1000.00', 1)},card"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The company's drops, marts and state; a test copies what it changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "false")
        patch.delenv("MARTS_LEAVE_OUT", raising=False)
        place = company(tmp_path_factory.mktemp("company"), 2)
        place.target = f"duckdb://{place.folder}/marts.duckdb"
        assert place.build().error is None
    return place.folder


@pytest.fixture
def place(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("MARTS_ANALYTICS", "false")
    monkeypatch.setenv("MARTS_STATE", str(tmp_path / "company" / "state"))
    shutil.copytree(built, tmp_path / "company")
    place = replace(company_of(tmp_path / "company"), runs=1)
    place.target = f"duckdb://{place.folder}/marts.duckdb"
    return place


def asked(place: Place, *options: str, code: int = 0) -> Any:
    """Run the command; return what its JSON says of each report, or its error."""
    result = marts("monthly", *place.flags, "--json", *options, code=code)
    return json.loads(result.stdout)["reports"] if code == 0 else str(result.exception)


def files(place: Place) -> dict[str, bytes]:
    """Return the files of all reports by their path."""
    folder = place.folder / "state" / "reports" / "monthly"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_last_month_is_written_once(place: Place) -> None:
    output = marts("monthly", *place.flags).output
    assert output.startswith("Retail, 2024-03, revision 1: written\n")
    assert "Net revenue: " in output
    assert output.rstrip().endswith("monthly/2024-03/1/report.pdf")
    first = files(place)
    assert set(first) == {"2024-03/1/report.json", "2024-03/1/report.pdf"}
    assert first["2024-03/1/report.pdf"].startswith(b"%PDF-")
    assert "2024-03, revision 1: up to date" in marts("monthly", *place.flags).output
    assert files(place) == first
    (place.folder / "state/reports/monthly/2024-03/1/report.pdf").unlink()  # as if a command had been killed before it
    assert "2024-03, revision 1: up to date" in marts("monthly", *place.flags).output
    assert files(place) == first


@pytest.mark.parametrize("same", [True, False])
def test_of_two_commands_at_the_same_time_one_writes_a_revision(
    place: Place, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    write, others = Folder.put_new, list[bytes]()

    def second(store: Folder, key: str, data: bytes) -> bool:
        """Write after another command, which has read the same publication or an earlier one."""
        if not others:
            content = json.loads(data)
            content["figures"][0]["value"] = content["figures"][0]["value"] if same else "1.00"
            others.append(as_bytes(content))
            assert write(store, key, others[0])
        return write(store, key, data)

    monkeypatch.setattr(Folder, "put_new", second)
    (report,) = asked(place)
    written = files(place)
    assert written["2024-03/1/report.json"] == others[0]
    if same:
        assert (report["revision"], report["is_new"]) == (1, False)
        assert set(written) == {"2024-03/1/report.json", "2024-03/1/report.pdf"}
    else:
        assert (report["revision"], report["is_new"], report["supersedes"]) == (2, True, 1)
        assert [change["was"] for change in report["changes"]] == ["1.00"]
        assert json.loads(written["2024-03/2/report.json"])["revision"] == 2


def test_equal_marts_have_equal_reports(place: Place, tmp_path: Path) -> None:
    (other,) = asked(place)
    twin = company(tmp_path / "twin", 2)
    twin.target = f"duckdb://{twin.folder}/marts.duckdb"
    assert twin.build().error is None
    (own,) = asked(twin)
    assert {**own, "folder": "", "publication": ""} == {**other, "folder": "", "publication": ""}
    assert own["publication"] == other["publication"]
    assert files(twin) == files(place)


def test_a_late_drop_makes_a_revision_of_each_month_that_it_changes(place: Place) -> None:
    for month in ("2024-01", "2024-02", "2024-03"):
        asked(place, "--month", month)
    first = files(place)
    place.put("sales/late.csv", sales(LATE, header=HEADER))
    assert place.build().outcome == "published"
    reports = {item["month"]: item for item in asked(place)}
    assert {month: (item["revision"], item["is_new"]) for month, item in reports.items()} == {
        "2024-01": (1, False),
        "2024-02": (2, True),
        "2024-03": (2, True),
    }
    february = {item["label"]: (item["was"], item["is"]) for item in reports["2024-02"]["changes"]}
    was, now = (float(text.replace(",", "")) for text in february["Net revenue"])
    assert round(now - was, 2) == 1000
    assert february["Net revenue per day: 2024-02-20"] != ("", "")
    days = [label for label in february if label.startswith("Net revenue per day")]
    assert days == ["Net revenue per day: 2024-02-20"]
    march = {item["label"] for item in reports["2024-03"]["changes"]}
    assert {"Net revenue of the month before", "Net revenue of the year"} <= march
    assert "Net revenue" not in march
    for report in reports.values():
        cells = [(own["label"].partition(", ")[2], own["was"], own["is"]) for own in report["changes"]]
        values = [cell for cell in cells if cell[0]]
        assert len(set(values)) == len(values)  # not once by each table
    assert reports["2024-02"]["changed_by"] == "Drops since then: sales/late.csv (new)."
    assert {name: content for name, content in files(place).items() if name in first} == first
    output = marts("monthly", *place.flags, "--month", "2024-02").output
    assert "What changed since revision 1:" in output
    assert "Drops since then: sales/late.csv (new)." in output


def test_an_unchanged_month_gets_no_revision_by_another_build(place: Place) -> None:
    asked(place)
    row = line("Same", 2, 121, "tea", "2024-03-20", 1, "10.00", 1)
    place.put("sales/same.csv", sales(f"{row},card", header=HEADER))
    assert place.build().outcome == "published"
    (changed,) = asked(place)
    assert changed["revision"] == 2
    (place.source / "sales" / "same.csv").unlink()
    assert place.build(rebuild=True).error is None
    (again,) = asked(place)
    assert again["revision"] == 3  # as it was at first, and the report lists it
    assert {item["label"] for item in again["changes"]} == {item["label"] for item in changed["changes"]}


def test_a_rollback_makes_a_revision_that_says_so(place: Place) -> None:
    asked(place)
    place.put("sales/late.csv", sales(LATE.replace("2024-02-20", "2024-03-20"), header=HEADER))
    assert place.build().outcome == "published"
    asked(place)
    marts("rollback", "--target", place.address, "--why", "tried")
    (report,) = asked(place)
    assert report["revision"] == 3
    assert report["changed_by"] == "A rollback to run run-1: without the drops sales/late.csv (new)."


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--month", "2024-13"], 2, "'2024-13' is no month"),
        (["--month", "9999-12"], 2, "'9999-12' is no month of business"),
        (["--month", "0001-01"], 2, "'0001-01' is no month of business"),
        (["--month", "2024-04"], 2, "there is nothing to report of 2024-04"),
        (["--month", "2024-03", "--so-far", "--mail"], 2, "a month that is not over is not mailed"),
        (["--so-far"], 2, "--so-far needs a month"),
        (["--month", "2024-03", "--so-far"], 2, "2024-03 is over"),
        (["--mail"], 2, "nobody gets the monthly report"),
    ],
)
def test_what_cannot_be_done_is_said(place: Place, options: list[str], code: int, message: str) -> None:
    assert message in asked(place, *options, code=code)
    assert not (place.folder / "state" / "reports" / "monthly").exists()


def test_a_month_that_is_not_over_is_marked_and_no_revision(place: Place) -> None:
    from datetime import date

    place.put("sales/april.csv", sales(f"{line('A', 2, 121, 'tea', '2024-04-02', 1, '10.00', 1)},card", header=HEADER))
    place.as_of = date(2024, 4, 3)
    assert place.build().error is None
    (report,) = asked(place, "--month", "2024-04", "--so-far")
    assert (report["is_so_far"], report["revision"]) == (True, 0)
    assert set(files(place)) == {"2024-04/so-far/report.json", "2024-04/so-far/report.pdf"}
    output = marts("monthly", *place.flags, "--month", "2024-04", "--so-far").output
    assert " on the same days of the month before)" in output
    assert " on the month before)" not in output
    (closed,) = asked(place)
    assert closed["month"] == "2024-03"


def test_it_is_the_same_from_mariadb(place: Place, mariadb: MariaDB, tmp_path: Path) -> None:
    (own,) = asked(place)
    twin = company(tmp_path / "twin", 2)
    twin.target = mariadb.make_database("monthly")
    assert twin.build().error is None
    (other,) = asked(twin)
    same = {"folder": "", "publication": ""}
    assert {**other, **same} == {**own, **same}


def test_each_revision_is_mailed_once_with_its_files(
    place: Place, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", mail.ca)
    for name, value in {"TO": json.dumps({"finance": mail.address}), "REPORTS": '["finance"]', "DEADLINE": "5"}.items():
        monkeypatch.setenv(f"MARTS_NOTIFY__{name}", value)
    assert "is not sent to finance yet" in asked(place, "--mail", code=69)  # the mail server is down
    with mail.up():
        marts("notify", "send", *place.flags[2:4])
        asked(place, "--mail")
        (message,) = mail.mails
        place.put("sales/late.csv", sales(LATE, header=HEADER))
        assert place.build().outcome == "published"
        asked(place, "--mail")
    subject = "Retail: report of 2024-03"
    assert [own["subject"] for own in mail.mails] == [subject, f"{subject}, revision 2"]
    attached = {part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()}
    stored = files(place)
    assert attached == {name: stored[f"2024-03/1/{name}"] for name in ("report.pdf", "report.json")}
    assert hashlib.sha256(stored["2024-03/1/report.pdf"]).hexdigest() in mail.texts[0]
    assert "Net revenue of the month before: " in mail.texts[1]
    with closing(place.warehouse(read_only=True)) as warehouse:
        assert warehouse.notices() == []


def test_large_files_are_named_and_not_attached(
    place: Place, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", mail.ca)
    settings = {"TO": json.dumps({"finance": mail.address}), "REPORTS": '["finance"]', "ATTACH_BYTES": "1000"}
    for name, value in settings.items():
        monkeypatch.setenv(f"MARTS_NOTIFY__{name}", value)
    with mail.up():
        asked(place, "--mail")
    assert list(mail.mails[0].iter_attachments()) == []
    assert "monthly/2024-03/1/report.pdf" in mail.texts[0]


def test_served_pages_list_reports_and_give_their_files(place: Place) -> None:
    asked(place)
    place.put("sales/late.csv", sales(LATE, header=HEADER))
    assert place.build().outcome == "published"
    asked(place)
    served, stored = Served(place), files(place)
    served.live.look()
    assert 'href="/monthly/2024-03"' in served.text("/monthly")
    page = served.text("/monthly/2024-03")
    assert "What changed since revision 1" in page
    assert 'href="/monthly/2024-03/1"' in page
    for address, name in (("/monthly/2024-03", "2024-03/2"), ("/monthly/2024-03/1", "2024-03/1")):
        for end in ("pdf", "json"):
            reply = served.get(f"{address}.{end}")
            assert (reply.status, reply.body) == (200, stored[f"{name}/report.{end}"])
            assert reply.kind == f"application/{end}"
    for end in ("2024-02", "2024-03/3", "2024-03/0", "../runs", "2024-03.csv", "x"):
        assert served.get(f"/monthly/{end}").status == 404
