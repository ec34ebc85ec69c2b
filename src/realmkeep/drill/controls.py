"""Controls: configurations that must lose or double. A drill that does not say so proves nothing."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from realmkeep.drill.checks import check_of
from realmkeep.drill.faults.disk import PowerCut
from realmkeep.drill.realm import Realm
from realmkeep.drill.stores.store import Trait

CAUGHT_S_MAX: Final = 60.0
RUN_S_MAX: Final = 180.0  # a busy machine stands still for most of the time
WINDOWS: Final = 2.5  # intervals without a flush, so that a promised window is long over
OPERATIONS: Final = 20
WAKES_MAX: Final = 5


@dataclass(frozen=True)
class Control:
    """A control.

    Attributes:
        what: Which promise is not kept.
        check: The check that must notice.
        needs: The traits of a realm in which it can be run.
        broken: What its servers do not do; see `server.breaks`.
        run: Breaks it; returns what the checks say.
        own_game: It needs the drill's own game.
        patient: Its servers wait for the store as long as a game does: a connection that breaks would tell them too much.
    """

    what: str
    check: str
    needs: frozenset[Trait]
    broken: str
    run: Callable[[Realm], Awaitable[list[str]]]
    own_game: bool = False
    patient: bool = False


async def _answers_early(realm: Realm) -> list[str]:
    """Let a server answer, with a store that stands still, and kill both."""
    name = min(realm.lines)
    line = realm.lines[name]
    await realm.crowd.stop()
    await _gather(realm, name)
    await asyncio.to_thread(realm.store.pause)
    for number in range(1, 1 + OPERATIONS):
        await line.send("trade", who=0, to=1, amount=1, ops=(10_000 + number, 10_000 + number))
    for each in [*realm.lines]:
        await realm.kill(each)
    await asyncio.to_thread(realm.store.resume)
    return realm.wrong()


async def _forgets_operations(realm: Realm) -> list[str]:
    """Let clients send operations again."""
    wrong: list[str] = []

    def noticed() -> bool:
        wrong[:] = realm.wrong()
        return bool(wrong)

    await realm.crowd.until(noticed, "the checks notice", limit_s=CAUGHT_S_MAX)
    return wrong


async def _never_flushes(realm: Realm) -> list[str]:
    """Let players only earn, and kill every server."""
    await realm.crowd.stop()
    for client in realm.crowd.clients:
        await client.find()
    realm.crowd.only_earn = True
    realm.crowd.start()
    began_s, window = realm.clock.monotonic_s(), realm.told.window

    def has_run() -> bool:
        """Each server: a silence since its last report may be an outage."""
        lines = realm.lines.values()
        ages = [window.age_s(began_s, line.heard_s, line.server) for line in lines]
        return min(ages, default=0.0) > WINDOWS * realm.config.flush_interval_s

    await realm.crowd.until(
        has_run,
        "the machine has run for some intervals",
        limit_s=RUN_S_MAX,
    )
    for name in [*realm.lines]:
        await realm.kill(name)
    realm.crowd.only_earn = False
    await realm.start_all()
    await realm.play(OPERATIONS)
    return realm.wrong()


async def _comes_back_older(realm: Realm) -> list[str]:
    """Let store and servers die, and put an older copy of the files in place."""
    directory = realm.store.directory
    copy = directory.parent / "older"
    await _all_dead(realm)
    await asyncio.to_thread(shutil.copytree, directory, copy, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    await _all_started(realm)
    await realm.play(OPERATIONS)
    await realm.crowd.stop()
    await _all_dead(realm)
    for path in [*directory.iterdir()]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    await asyncio.to_thread(shutil.copytree, copy, directory, dirs_exist_ok=True)
    await _all_started(realm)
    return realm.wrong()


async def _all_dead(realm: Realm) -> None:
    for name in [*realm.lines]:
        await realm.kill(name)
    if Trait.PROCESS in realm.traits:
        await asyncio.to_thread(realm.store.kill)


async def _all_started(realm: Realm) -> None:
    await asyncio.to_thread(realm.store.start)
    await realm.start_all()


async def _writes_without_owning(realm: Realm) -> list[str]:
    """Let a server sleep past its lease while another takes its player; it wakes up and finds a request.

    It may also find that its connection to the store has ended meanwhile; then it looks at the owners first, and writes nothing.
    So this is tried until it writes, as a fault is until it fires.
    """
    first, second = sorted(realm.lines)[:2]
    await realm.crowd.stop()
    wrong: list[str] = []
    for attempt in range(WAKES_MAX):
        await _gather(realm, first)
        realm.servers[first].pause()
        mail = realm.lines[first].send(
            "mail", who=0, to=1, amount=7, op=10_001 + attempt, letter=-1 - attempt, wanted=True
        )
        for who in (0, 1):
            await _login(realm, second, who)
        wrong += realm.wrong()
        realm.servers[first].resume()
        answer = await mail
        wrong += realm.wrong()
        if wrong or not {"no", "error"} & answer.keys():
            break
    return wrong


async def _gather(realm: Realm, name: str) -> None:
    """Log two players in at one server; the crowd has stopped."""
    for line in realm.lines.values():
        for who in (0, 1):
            await line.send("logout", who=who)
    for who in (0, 1):
        await _login(realm, name, who)


async def _login(realm: Realm, name: str, who: int) -> None:
    async with realm.clock.timeout(CAUGHT_S_MAX):
        while "xp" not in await realm.lines[name].send("login", who=who):
            await realm.clock.sleep(0.02)


async def _disk_lies(realm: Realm) -> list[str]:
    """Let fsyncs do nothing, and cut the power."""
    assert realm.shim is not None
    realm.shim.lie(lying=True)
    await realm.play(OPERATIONS)
    await realm.crowd.stop()
    realm.crowd.start()
    cut = PowerCut(realm)
    await cut.begin()
    realm.shim.lie(lying=False)
    await cut.end()
    return realm.wrong()


CONTROLS: Final = {
    "control-early-answer": Control(
        "servers answer before the store has it", "durable", frozenset({Trait.PROCESS}), "early answer", _answers_early
    ),
    "control-no-op-ring": Control(
        "servers remember no operation", "once", frozenset(), "op ring", _forgets_operations
    ),
    "control-no-flush": Control(
        "servers never write changes of tier 2", "window", frozenset(), "no flush", _never_flushes
    ),
    "control-older-files": Control(
        "the store's files are replaced by an older copy", "durable", frozenset({Trait.DIRECTORY}), "",
        _comes_back_older,
    ),
    "control-no-fence": Control(
        "writes do not compare the owner", "owner", frozenset({Trait.TAKEOVER}), "fence", _writes_without_owning, own_game=True, patient=True
    ),
    "control-lying-fsync": Control(
        "the disk says that it has synced, and has not", "durable",
        frozenset({Trait.SHIM, Trait.OWN}), "", _disk_lies,
    ),
}  # fmt: skip


def is_caught(control: Control, wrong: list[str]) -> bool:
    """Whether the checks noticed."""
    return control.check in map(check_of, wrong)
