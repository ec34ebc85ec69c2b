import sys

import pytest

from realmkeep.clock import SystemClock
from realmkeep.errors import ConfigError, StorageMisconfigured
from realmkeep.storage import open_storage
from realmkeep.storage.memory import MemoryStorage
from realmkeep.testing.clock import FakeClock


def test_each_memory_url_is_a_store_of_its_own() -> None:
    first, second = open_storage("memory://"), open_storage("memory://", clock=FakeClock())
    assert isinstance(first, MemoryStorage)
    assert isinstance(second, MemoryStorage)
    assert first.store is not second.store


@pytest.mark.parametrize(
    "url",
    [
        "",
        "realm.db",
        "postgres://ada:hunter2@db",
        "redi://ada:hunter2@db",
        "redis://ada:hunter2@[db",
        "memory://hunter2",
        "memory:///hunter2",
        "memory://?hunter2",
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(url, clock=SystemClock())
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("realmkeep.storage.sqlite")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apsw", None)
    with pytest.raises(StorageMisconfigured) as caught:
        open_storage("sqlite:///realm.db")
    assert "pip install 'realmkeep[sqlite]'" in caught.value.hint
    assert "apsw" in caught.value.message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("embedded:///data?port=6380&port=6381", "has the option 'port' twice"),
        ("redis://db/0?timeout_s=1&timeout_s=2", "has the option 'timeout_s' twice"),
        ("redis://db/" + "9" * 5000, "not a whole number"),
        ("redis://db/\u0661", "not a whole number"),
        ("redis://db/-1", "not a whole number"),
        ("embedded:///data?port=" + "9" * 5000, "port"),
        ("embedded:///data?port=\u00b2", "port"),
    ],
)
def test_options_are_read_exactly_or_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_storage(url, clock=SystemClock())
