"""Log lines: text for people, JSON elsewhere; each names its run and step; one closing line holds everything."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.kit import AS_OF, Place, line, marts, sales

from jobs.cli import progress as cli_watch
from jobs.cli.progress import Lines, voice
from jobs.config.settings import Log

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def build(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Build the golden drops; return the exit code and what was written to stderr."""
    place.put_golden()
    (place.folder / "policy.toml").write_text("max_unknown_ratio = 0.2")
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "false")

    def run(*more: str, form: str = "json") -> tuple[int, str]:
        monkeypatch.setenv("MARTS_LOG__FORMAT", form)
        options = ["--as-of", AS_OF.isoformat(), "--policy", str(place.folder / "policy.toml")]
        done = marts("build", *place.flags, *options, *more, code=None)
        return done.exit_code, done.stderr

    return run


def lines(text: str) -> list[dict[str, Any]]:
    """Read log lines: every single one is JSON."""
    return [json.loads(text_line) for text_line in text.splitlines()]


def test_elsewhere_than_on_a_terminal_every_line_is_json_with_run_and_step(build: Callable[..., Any]) -> None:
    messages = lines(build(form="auto")[1])
    (run_id,) = {message["run_id"] for message in messages}
    assert re.fullmatch(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}", run_id)
    steps = [message["step"] for message in messages if message.get("event") == "step"]
    assert {"plan", "scan", "roll up", "materialize", "load", "publish"} <= set(steps)
    assert all(message["time"].endswith("+00:00") and message["level"] == "info" for message in messages)


def test_one_closing_line_holds_what_is_needed_to_chart_runs(build: Callable[..., Any]) -> None:
    code, text = build()
    (closing,) = [message for message in lines(text) if message.get("event") == "run"]
    assert closing == lines(text)[-1]
    assert (closing["outcome"], closing["exit_code"], code) == ("published", 0, 0)
    assert (closing["lines"]["rows_read"], closing["lines"]["clean"]) == (25, 24)
    assert closing["marts"]["customers"] == {"rows": 12, "total": "61999.46", "changed": True}
    assert closing["drops"] == {"live": 5}
    assert closing["seconds"] > 0
    assert set(closing["steps"]) >= {"plan", "scan", "publish"}


def test_a_failure_closes_with_its_cause_in_red_letters_of_json(place: Place, build: Callable[..., Any]) -> None:
    place.put("sales/more.csv", sales(*(line(f"S{n}", customer=900 + n) for n in range(9))))
    code, text = build()
    closing = lines(text)[-1]
    assert (code, closing["level"], closing["outcome"]) == (65, "error", "failed")
    assert closing["error"]["kind"] == "UnknownPeople"
    assert "max_unknown_ratio" in closing["error"]["hint"]


def test_quiet_logs_nothing_unless_something_is_wrong(place: Place, build: Callable[..., Any]) -> None:
    for form in ("text", "json"):
        assert build("--quiet", form=form) == (0, "")
    place.put("sales/more.csv", sales(*(line(f"S{n}", customer=900 + n) for n in range(9))))
    assert "more than max_unknown_ratio" in build("--quiet", form="text")[1]
    assert [message["event"] for message in lines(build("--quiet")[1])] == ["run"]


def test_wrong_settings_are_json_where_lines_are_and_an_error_with_its_hint(place: Place) -> None:
    place.put_golden()
    (place.folder / "policy.toml").write_text("wrong = 1")
    for more in (["--policy", str(place.folder / "policy.toml")], ["--target", "oracle://x"]):
        done = subprocess.run(
            command("build", *place.flags, *more),
            env={**os.environ, "MARTS_LOG__FORMAT": "json"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        log_lines, words = done.stderr.partition("error: ")[::2]  # whoever typed it reads it at once, too
        assert lines(log_lines)[-1]["error"]["kind"] == "UsageError"
        assert words


def test_text_is_for_people_and_ends_with_the_report(build: Callable[..., Any]) -> None:
    text = build(form="text")[1]
    assert re.search(r"^[0-9:]{8} scan: 5 tasks$", text, re.MULTILINE)
    assert "published: both marts are live" in text
    assert "{" not in text


def test_a_traceback_is_shown_with_debug_only(place: Place) -> None:
    without = subprocess.run(command("status", "--target", "oracle://x"), capture_output=True, text=True, check=False)
    with_it = subprocess.run(
        command("--debug", "status", "--target", "oracle://x"), capture_output=True, text=True, check=False
    )
    assert (without.returncode, with_it.returncode) == (2, 2)
    assert without.stderr.startswith("error: ")
    assert "\nhint: " in without.stderr
    assert "Traceback" not in without.stderr
    assert "Traceback" in with_it.stderr
    assert without.stderr in with_it.stderr


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from jobs.cli.app import main; main()", *arguments]


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; return its exit code and what was shown."""
    parent_end, child_end = pty.openpty()
    process = subprocess.Popen(arguments, stderr=child_end, stdout=subprocess.DEVNULL, env=environment)
    os.close(child_end)
    output = b""
    while True:
        try:
            part = os.read(parent_end, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        output += part
    os.close(parent_end)
    return process.wait(60), output.decode(errors="replace")


def test_on_a_terminal_there_are_bars_with_rows_and_time_left_and_an_error_is_red(place: Place) -> None:
    marts("generate", str(place.source), "--lines", "20000")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MARTS_", "NO_COLOR"))}
    environment = {**plain, "TERM": "xterm-256color", "COLUMNS": "140", "MARTS_QUALITY__JUDGE": "false"}
    code, output = on_a_terminal(command("build", *place.flags, "--as-of", "2025-12-31"), environment)
    assert code == 0, output
    frames = re.split(r"[\r\n]", output)
    scans = [
        frame for frame in frames if all(word in frame for word in ("scan", "━", " drops, ", " rows, ", " rows/s"))
    ]
    assert any(re.search(r"\d:\d\d:\d\d (left|so far)", frame) for frame in scans)
    assert "{" not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    code, output = on_a_terminal(command("status", "--target", "oracle://x"), environment)
    assert "\x1b[31merror: " in output
    _, output = on_a_terminal(command("status", "--target", "oracle://x"), {**environment, "NO_COLOR": "1"})
    assert "\x1b[31m" not in output


@pytest.mark.parametrize(
    ("seconds", "left", "words"),
    [(8.9, None, "0:00:08 so far"), (8.9, 75.0, "0:01:15 left"), (3700.0, 0.0, "0:00:00 left")],
)
def test_the_time_of_a_step_is_labelled(seconds: float, left: float | None, words: str) -> None:
    assert cli_watch.time_of(seconds, left) == words


def test_a_step_of_unknown_length_shows_how_long_it_takes_and_nothing_left() -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    watch = cli_watch.Bars(console, lambda: None)
    watch.begin("start Ray", 0)
    console.print(watch.bars.get_renderable())
    output = console.export_text()
    assert "0:00:00 so far" in output
    assert not re.search("left|[?]", output)


def test_elsewhere_progress_is_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cli_watch, "_EVERY", 0.02)
    voice(Log(format="json"))
    watch = Lines(lambda: None)
    watch.begin("scan", 400)
    for _ in range(4):
        time.sleep(0.01)
        watch.advance(1000, 1)
    messages = [getattr(record, "fields", {}) for record in caplog.records]
    progress = [message for message in messages if message.get("event") == "progress"]
    assert 1 <= len(progress) < 4
    assert progress[0]["rows"] == 1000 * progress[0]["done"]
    assert progress[0]["rows_per_second"] > 1000
    assert progress[0]["seconds_left"] > 0
    assert progress[0]["tasks"] == 400


def test_credentials_and_escapes_are_taken_out_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    from jobs.runtime.scrub import remember

    remember("s3cr3t-value")
    voice(Log(format="json"))
    logging.getLogger("marts.test").warning("it was %s, and \x1b[2J", "s3cr3t-value")
    (entry,) = lines(capsys.readouterr().err)
    assert entry["message"] == "it was ***, and \\x1b[2J"
