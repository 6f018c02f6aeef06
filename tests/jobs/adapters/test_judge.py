"""The process of Great Expectations: it is started again if it is killed, and its errors are those of the caller."""

import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import pytest
from support.kit import Place, outside

from jobs.adapters.great_expectations.process import Judge
from marts.errors import Defect, ServiceError


def test_a_killed_process_is_started_again_for_the_next_call() -> None:
    judge = Judge()
    judge.begin()
    first = process_of(judge)
    assert judge.call("_masked", "Ada", True) != "Ada"
    os.kill(first, signal.SIGINT)  # Ctrl-C of a terminal reaches all processes
    assert judge.call("_masked", 7, True) == 7
    assert process_of(judge) == first
    os.kill(first, signal.SIGKILL)
    assert judge.call("_masked", 7, True) == 7
    assert process_of(judge) != first


def test_a_process_that_is_killed_again_and_again_is_an_error_of_the_machine() -> None:
    class Doomed(Judge):
        def _running(self) -> Connection:
            pipe = super()._running()
            assert self._process
            self._process.kill()
            self._process.join()
            return pipe

    with pytest.raises(ServiceError, match="ended with -9") as raised:
        Doomed().call("_masked", 7, True)
    assert "memory" in raised.value.hint


def test_a_call_has_the_environment_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    judge.begin()
    monkeypatch.setenv("MARTWRIGHT_LATER", "7")
    assert judge.call("_masked", Looked("MARTWRIGHT_LATER"), True) == {"value": 7}


def test_an_unexpected_error_has_its_traceback() -> None:
    with pytest.raises(Defect, match="TypeError") as raised:
        Judge().call("_masked")
    assert "Traceback" in raised.value.hint


def test_the_process_of_a_build_never_imports_the_library(place: Place) -> None:
    place.put_golden()
    code = "import sys, atexit\nfrom jobs.cli.app import main\n"
    code += "atexit.register(lambda: print('great_expectations' in sys.modules))\nmain()"
    done = outside(sys.executable, "-c", code, "build", *place.flags, "--as-of", "2024-03-31", cwd=place.folder)
    assert "customers_data_mart" in done.stderr
    assert done.stdout.split() == ["False"]


def test_the_process_ends_with_that_of_the_build(place: Place) -> None:
    code = "from jobs.adapters.great_expectations.process import Judge\nj = Judge()\nj.begin()\nprint(j._process.pid)"
    done = outside(sys.executable, "-c", code, cwd=place.folder)
    assert done.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


class Looked(dict[str, Any]):
    """A variable of the environment, when its items are read."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def items(self) -> Any:
        return [("value", int(os.environ[self.name]))]


def process_of(judge: Judge) -> int:
    assert judge._process
    assert judge._process.pid
    return judge._process.pid
