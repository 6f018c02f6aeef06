"""`marts submit` to a real Ray cluster: attach, follow, exit codes, stop, and the errors that it reports.

The cluster's nodes have the wheel, as an image has; one test sends the checkout along instead.
"""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.kit import UNJUDGED, Place
from support.servers import RayHead, free_port

from jobs.adapters.ray.jobs import RayJobs
from jobs.launch.submit import Submission, Tail, ended, submitted, wait
from marts.errors import MartsError, ServiceError

ROOT = Path(__file__).parents[3]
MARTS = str(Path(sys.executable).parent / "marts")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "lib"), str(file)], check=True)
    return folder / "lib"


@pytest.fixture(scope="module")
def head(
    start_shared_ray_head: Callable[..., RayHead], wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> RayHead:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "policy.toml").write_text("max_unknown_ratio = 0.2")
    inside = {"MARTS_POLICY": str(folder / "policy.toml"), "PYTHONPATH": str(wheel), **UNJUDGED}
    return start_shared_ray_head(inside, cpus=1)


@pytest.fixture
def jobs(head: RayHead) -> RayJobs:
    """The cluster's jobs, as the product sees them."""
    return RayJobs(head.dashboard)


def shell(head: RayHead, **more: str) -> dict[str, str]:
    """A shell that knows the cluster's address and token, and nothing else."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MARTS_", "RAY_"))}
    return {**outside, **head.environment, **more}


def submit(head: RayHead, *arguments: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [MARTS, "submit", *arguments],
        env=shell(head, **more),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def places(place: Place) -> list[str]:
    return ["--source", str(place.source), "--target", place.address, "--as-of", "2024-03-31"]


def test_a_build_is_submitted_followed_and_named(head: RayHead, place: Place, wheel: Path) -> None:
    place.put_golden()
    done = submit(head, *places(place), "--json")
    summary = json.loads(done.stdout)
    assert (summary["status"], summary["outcome"], summary["exit_code"]) == ("SUCCEEDED", "published", 0)
    assert summary["submission"].startswith("marts-2024-03-31-")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {"scan", "roll up", "publish"} <= {line.get("step") for line in lines}
    (job,) = [entry for entry in head.ask("/api/jobs/") if entry["submission_id"] == summary["submission"]]
    assert (job["metadata"]["run_id"], job["metadata"]["as_of"]) == (summary["run_id"], "2024-03-31")
    tasks = {task["name"] for task in head.ask("/api/v0/tasks?detail=0&limit=10000")["data"]["result"]["result"]}
    assert {"ReadScanDrops", "ReadRollUp", "ReadFinishMarts"} <= tasks
    with closing(place.warehouse(read_only=True)) as warehouse:
        (run,) = warehouse.runs(5)
    assert json.loads(run.report)["submission"] == summary["submission"]
    # The checkout may be sent along.
    checkout = ["--working-dir", str(ROOT), "--id", summary["submission"]]
    again = json.loads(submit(head, *places(place), *checkout, "--json").stdout)
    assert (again["submission"], again["outcome"]) == (f"{summary['submission']}-2", "unchanged")


def test_the_same_build_attaches_to_the_one_at_work_and_ends_as_it(head: RayHead, place: Place) -> None:
    place.put_golden()
    first = submit(head, *places(place), "--no-wait").stdout.strip()
    second = submit(head, *places(place), "--json")
    assert f"job {first} is already running: following it" in second.stderr
    summary = json.loads(second.stdout)
    assert (summary["submission"], summary["outcome"]) == (first, "published")


def test_it_ends_with_the_builds_exit_code_and_reports_why(head: RayHead, place: Place) -> None:
    place.put_golden()
    (place.folder / "strict.toml").write_text("max_unknown_ratio = 0.0")
    strict = submit(head, *places(place), "--policy", str(place.folder / "strict.toml"), "--json", code=65)
    assert json.loads(strict.stdout)["exit_code"] == 65
    assert '"kind": "UnknownPeople"' in strict.stderr
    wrong = submit(head, *places(place), "--mart", "products", code=2)
    assert "products" in wrong.stderr


def test_each_end_of_a_job_is_reported_as_what_it_is(jobs: RayJobs) -> None:
    entrypoints = {
        "good": "echo fine",
        "missing-module": "python -m jobs.no_such",
        "missing-command": "no-such-command",
        "killed": "python -c 'import os; os.kill(os.getpid(), 9)'",
        "odd": "sh -c 'echo oh no; exit 3'",
        "silent": "sh -c 'exit 65'",
        "stopped": "sleep 60",
    }
    for name, entrypoint in entrypoints.items():
        jobs.submit(entrypoint, name, {})

    tails = {name: Tail(jobs, name, [].append) for name in entrypoints}

    def end_of(name: str) -> tuple[int, str]:
        run, tail = wait(jobs, name, 0.2, 10), tails[name]
        tail.finish()
        error = ended(run, tail.closing, tail.lines)
        return (error.exit_code, str(error)) if error else (0, "")

    assert end_of("good") == (0, "")
    assert end_of("missing-module") == (
        2,
        "job missing-module: Martwright is not installed on the cluster",
    )
    assert end_of("missing-command")[0] == 2
    killed = end_of("killed")
    assert (killed[0], "was killed (exit code" in killed[1]) == (69, True)
    assert end_of("odd") == (70, "job odd: the driver ended with exit code 3: oh no")
    assert end_of("silent")[0] == 65
    assert jobs.stop("stopped")
    assert end_of("stopped") == (75, "Ray: job stopped was stopped")


def test_a_log_of_many_lines_comes_whole_and_in_order(jobs: RayJobs) -> None:
    jobs.submit("""python -c 'for n in range(3000): print(f"{n} ü" * 9)'""", "many-lines", {})
    messages: list[str] = []
    tail = Tail(jobs, "many-lines", messages.append)
    wait(jobs, "many-lines", 0.2, 10)
    tail.finish()
    assert [line.split()[0] for line in messages if line.endswith("ü")] == [str(n) for n in range(3000)]


def test_a_submission_that_was_made_meanwhile_is_attached_to(jobs: RayJobs) -> None:
    class Late(RayJobs):
        """Sees nothing before it submits, as somebody who is as fast as another."""

        seen = 0

        def look(self, name: str) -> Any:
            self.seen += 1
            return None if self.seen == 1 else super().look(name)

    build = Submission(("--as-of", "2024-01-01"), date(2024, 1, 1), "twins")
    jobs.submit(build.entrypoint, "twins", {})
    late = Late.__new__(Late)
    late.__dict__.update(jobs.__dict__)
    assert submitted(late, build) == ("twins", False)


def test_a_log_with_a_line_that_cannot_be_followed_is_read_at_last(jobs: RayJobs) -> None:
    """Ray ends the connection at 4 MiB."""
    jobs.submit("""python -c 'print("x" * 6_000_000); print("after it")'""", "long-line", {})
    messages: list[str] = []
    tail = Tail(jobs, "long-line", messages.append)
    wait(jobs, "long-line", 0.2, 10)
    tail.finish(20)
    assert "after it" in messages


def test_another_build_of_the_same_id_is_refused(jobs: RayJobs) -> None:
    submission, other = (
        Submission(("--mart", mart), date(2024, 1, 1), "nightly") for mart in ("customers", "sales_team")
    )
    jobs.submit(f"sleep 8 # {other.entrypoint}", "nightly", {})
    with pytest.raises(MartsError, match="another build with this id is running"):
        submitted(jobs, submission)
    assert submitted(jobs, submission, rerun=False) == ("nightly-2", True), "a launcher takes the next"
    jobs.stop("nightly")


def on_terminal(head: RayHead, jobs: RayJobs, arguments: list[str], answer: str) -> tuple[int, str]:
    """Submit on a terminal, press Ctrl-C when the job runs, and answer the question. The last argument is its id."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [MARTS, "submit", *arguments], env=shell(head), stdin=other, stdout=other, stderr=other, start_new_session=True
    )
    os.close(other)
    output, pressed, answered = "", 0.0, False
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            if select.select([main], [], [], 0.1)[0]:
                output += os.read(main, 10_000).decode(errors="replace")
        except OSError:
            break
        # The log may come late: Ray knows earlier that the job runs.
        asked = "Stop the job" in output
        due = not asked and "is submitted" in output and time.monotonic() > pressed + 2  # as people do, until it asks
        if due and (run := jobs.look(arguments[-1])) and run.status == "RUNNING":
            pressed = time.monotonic()
            process.send_signal(2)
        if asked and not answered:
            answered = True
            os.write(main, answer.encode())
    return process.wait(30), output


def test_ctrl_c_asks_whether_to_stop_the_job(head: RayHead, place: Place, jobs: RayJobs) -> None:
    place.put_golden()
    code, output = on_terminal(head, jobs, [*places(place), "--id", "kept"], "n\n")
    assert (code, "it keeps running" in output) == (75, True), output
    code, output = on_terminal(head, jobs, [*places(place), "--rebuild", "--id", "ended"], "y\n")
    assert (code, "stop requested" in output) == (75, True), output
    assert (run := jobs.look("ended")) is not None
    assert run.status == "STOPPED"
    assert wait(jobs, "kept", 0.2, 10).status == "SUCCEEDED"


def test_what_cannot_work_is_reported_at_once(head: RayHead, place: Place) -> None:
    password = submit(head, "--target", "mysql://marts:opensesame@db:3306/marts", code=2)
    assert "its password would be visible in Ray's dashboard" in password.stderr
    assert "opensesame" not in password.stderr
    assert "is not a date" in submit(head, "--as-of", "tomorrow", code=2).stderr
    assert "letters" in submit(head, "--id", "a/b", code=2).stderr
    nobody = submit(head, "--address", f"http://127.0.0.1:{free_port()}", code=69)
    assert "no Ray dashboard answers" in nobody.stderr
    refused = submit(head, *places(place), code=69, RAY_AUTH_TOKEN="f" * 32)
    assert "the Ray cluster denies access" in refused.stderr
    assert "RAY_AUTH_MODE=token" in refused.stderr
    untold = submit(head, *places(place), code=69, RAY_AUTH_MODE="disabled")
    assert "the Ray cluster denies access" in untold.stderr


def test_the_marts_are_the_same_on_one_raylet_and_on_two(head: RayHead, tmp_path: Path) -> None:
    in_process, on_cluster = Place(tmp_path / "one"), Place(tmp_path / "two")
    for place in (in_process, on_cluster):
        place.put_golden()
    in_process.policy = in_process.policy.model_copy(update={"max_unknown_ratio": 0.2})
    assert in_process.build().outcome == "published", "without any raylet; the other tests have one"
    policy = {"MARTS_POLICY": str(tmp_path / "policy.toml")}
    (tmp_path / "policy.toml").write_text("max_unknown_ratio = 0.2")
    with head.with_another_node(policy):
        submit(head, *places(on_cluster))
        tasks = head.ask("/api/v0/tasks?detail=0&limit=10000")["data"]["result"]["result"]
    assert in_process.marts() == on_cluster.marts()
    job = max(task["job_id"] for task in tasks)
    assert len({task["node_id"] for task in tasks if task["job_id"] == job and task["node_id"]}) == 2


def test_a_head_that_dies_is_reported_and_not_waited_for(head: RayHead, jobs: RayJobs) -> None:
    """The last test of this file: it ends the cluster that all of them have."""
    jobs.submit("sh -c 'echo begun; sleep 60'", "orphan", {})
    messages: list[str] = []
    tail = Tail(jobs, "orphan", messages.append)
    while "begun" not in messages:
        time.sleep(0.1)
    head.kill()
    with pytest.raises(ServiceError, match="lost contact with job orphan") as caught:
        wait(jobs, "orphan", 0.2, 1)
    assert "attaches to it again" in caught.value.hint
    tail.finish(0.1)
    assert messages.count("begun") == 1
    with pytest.raises(MartsError, match="no Ray dashboard answers"):
        RayJobs(head.dashboard)
