"""Errors state what, where and what to do; they survive the way between processes."""

import pickle

import pytest

from marts import errors
from marts.errors import MartsError

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MartsError)]


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling(kind: type[MartsError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", "where", "hint")))
    assert type(error) is kind
    assert (error.what, error.where, error.hint, str(error)) == ("what", "where", "hint", "where: what")


def test_exit_codes_are_those_of_the_one_table() -> None:
    codes = {kind.__name__: kind.exit_code for kind in ALL}
    assert codes == {
        "MartsError": 70,
        "UsageError": 2,
        "DataError": 65,
        "DropRejected": 65,
        "SqlFailed": 65,
        "UnknownPeople": 65,
        "TotalFell": 65,
        "DuplicateKeys": 65,
        "QualityBroken": 65,
        "ServiceError": 69,
        "Transient": 69,
        "Busy": 75,
        "NotShown": 69,
        "OutcomeUnknown": 69,
        "StateDamaged": 69,
        "ObjectChanged": 69,
        "ObjectUnreadable": 69,
        "Defect": 70,
        "TryLater": 75,
        "DeadlinePassed": 75,
        "Fenced": 75,
    }


def test_the_tree_in_the_docstring_names_every_error() -> None:
    for kind in ALL:
        assert kind.__name__ in (errors.__doc__ or "")
