import inspect
import pickle

import pytest

from realmkeep import errors
from realmkeep.errors import DefinitionError, OutcomeUnknown, RealmkeepError, StorageError, StorageUnavailable

TREE = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, BaseException)]


@pytest.mark.parametrize("error", TREE)
def test_every_error_is_a_realmkeep_error_that_says_what_it_means(error: type[Exception]) -> None:
    assert issubclass(error, RealmkeepError)
    assert error.__doc__
    assert error.outcome in {"not_applied", "unknown"}


@pytest.mark.parametrize("error", TREE)
def test_an_error_crosses_processes_with_its_facts(error: type[RealmkeepError]) -> None:
    parameters = inspect.signature(error).parameters
    facts = {name: f"the {name}" for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    made = error("player:7 is gone", **facts)
    twin = pickle.loads(pickle.dumps(made))
    assert type(twin) is error
    facts.pop("wait", None)  # waits in the process where the commit is
    told = [{name: value for name, value in vars(each).items() if name != "_wait"} for each in (twin, made)]
    assert told == [{"message": "player:7 is gone"} | facts] * 2
    assert str(twin) == str(made) == "player:7 is gone (the hint)"


def test_an_error_without_a_hint_is_its_message() -> None:
    assert str(RealmkeepError("player:7 is gone")) == "player:7 is gone"


def test_only_a_lost_answer_leaves_the_outcome_unknown() -> None:
    assert [error for error in TREE if issubclass(error, StorageError) and error.outcome == "unknown"] == [
        OutcomeUnknown
    ]


def test_a_store_that_is_away_may_be_asked_again() -> None:
    assert StorageUnavailable.retryable
    assert not RealmkeepError.retryable


def test_a_wrong_definition_is_a_type_error_as_python_has_it() -> None:
    assert issubclass(DefinitionError, TypeError)
