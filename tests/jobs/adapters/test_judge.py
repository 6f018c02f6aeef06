"""The process of Great Expectations: it is started again if it is killed, and its errors are those of the caller."""

import os
import signal
import sys
from multiprocessing.connection import Connection

import pytest
from support.kit import Place, outside

from jobs.adapters.great_expectations.process import Judge
from marts.errors import Defect, ServiceError
from marts.quality.rules import Suite

NOTHING = ("plan", Suite("sales", ()), {})
"""A call that needs one metric: the types of the columns."""


def test_a_killed_process_is_started_again_for_the_next_call() -> None:
    judge = Judge()
    judge.begin()
    first = process_of(judge)
    assert judge.call(*NOTHING) == 1
    os.kill(first, signal.SIGINT)  # Ctrl-C of a terminal reaches all processes
    assert judge.call(*NOTHING) == 1
    assert process_of(judge) == first
    os.kill(first, signal.SIGKILL)
    assert judge.call(*NOTHING) == 1
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
        Doomed().call(*NOTHING)
    assert "memory" in raised.value.hint


def test_an_unexpected_error_has_its_traceback() -> None:
    with pytest.raises(Defect, match="TypeError") as raised:
        Judge().call("plan")
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


def process_of(judge: Judge) -> int:
    assert judge._process
    assert judge._process.pid
    return judge._process.pid
