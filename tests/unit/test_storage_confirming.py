"""The confirmation by replicas, on scripted answers: when it counts, when it asks again, and when it must fail."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.exceptions import AskError, MovedError, ResponseError

from realmkeep.errors import StorageError, StorageUnavailable
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.replicated import confirming
from realmkeep.storage.replicated.confirming import Confirmer
from realmkeep.testing.clock import FakeClock

ADDRESS = RedisAddress(host="h", timeout_s=2.0)
NO_REPLICAS = ResponseError("Not enough good replicas to write.", status_code="NOREPLICAS")
READONLY = ResponseError("You can't write against a read only replica.", status_code="READONLY")
MOVED = MovedError("1 h:2", status_code="MOVED")
ASKED = AskError("1 h:2", status_code="ASK")


def role(*offsets: int, at: int = 100) -> list[object]:
    return [b"master", at, [[b"h", b"1", b"%d" % offset] for offset in offsets]]


class Primary:
    """Answers round after round; the last round again and again. It waits where a round says so."""

    def __init__(self) -> None:
        self.rounds: deque[tuple[object, ...]] = deque()
        self.sent: list[str] = []
        self._replies: asyncio.Queue[object] = asyncio.Queue()
        self.closed = False

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None:
        self.closed = True
        self._replies.put_nowait(ConnectionResetError("closed"))

    async def send_command(self, *args: str | bytes | int) -> None:
        self.sent.append(str(args[0]))
        if args[0] == "PEXPIRE":
            answers = self.rounds.popleft() if len(self.rounds) > 1 else self.rounds[0]
            for answer in answers:
                self._replies.put_nowait(answer)
        elif args[0] in {"SET", "INFO"}:
            self._replies.put_nowait(self.rounds.popleft()[0])

    async def send_packed_command(self, command: object, check_health: bool = True) -> None: ...

    async def read_response(self, *, timeout: float | None = None, disconnect_on_error: bool = True) -> object:  # noqa: ASYNC109 - the driver's signature
        reply = await self._replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.broken: list[StorageError] = []
        self.followed: list[MovedError] = []
        self.primaries: list[Primary] = []
        self.is_heir = True
        self.confirmer = Confirmer(
            self.clock, key="k", replicas_min=1, follow=self.follow, on_broken=self.broken.append
        )

    def make(self, _address: RedisAddress) -> Primary:
        self.primaries.append(Primary())
        return self.primaries[-1]

    async def follow(self, moved: MovedError) -> None:
        self.followed.append(moved)
        await self.confirmer.use(ADDRESS, is_heir=self.is_heir)
        self.primaries[-1].rounds.append((1, role(100), 1))

    async def confirm(self, *rounds: tuple[object, ...], wrote: bool = True) -> None:
        self.primaries[-1].rounds.extend(rounds)
        call = asyncio.ensure_future(self.confirmer.confirm(self.confirmer.reign, wrote=wrote))
        for _ in range(200):
            await self.clock.advance(0.02)
            if call.done():
                break
        await call


@pytest_asyncio.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    rig = Rig()
    monkeypatch.setattr(confirming, "make_connection", rig.make)
    await rig.confirmer.use(ADDRESS)
    yield rig
    await rig.confirmer.close()


async def test_a_round_counts_when_every_replica_that_is_online_has_everything(rig: Rig) -> None:
    await rig.confirm((1, role(100, 100), 1), (1, role(100, 100), 2))
    assert rig.primaries[0].sent.count("PEXPIRE") == 2  # one of the two replicas was not enough


@pytest.mark.parametrize("short", [(1, role(), 0), (1, role(90), 0), (NO_REPLICAS, role(90), 1)])
async def test_too_few_replicas_confirm_nothing_within_the_timeout(rig: Rig, short: tuple[object, ...]) -> None:
    with pytest.raises(StorageUnavailable, match="do not confirm"):
        await rig.confirm(short)
    assert rig.broken == []


async def test_a_write_that_is_refused_for_a_moment_is_tried_again(rig: Rig) -> None:
    await rig.confirm((NO_REPLICAS, role(), 0), (1, role(100), 1))


async def test_a_small_write_without_its_key_wrote_nothing_and_confirms_nothing(rig: Rig) -> None:
    await rig.confirm((0, role(100), 1), (b"OK",), (1, role(100), 1))
    assert rig.primaries[0].sent.count("PEXPIRE") == 2


async def test_while_the_key_is_elsewhere_the_offsets_must_reach_what_the_primary_had(rig: Rig) -> None:
    away = [(ASKED, role(at, at=200), 1) for at in (150, 199)]
    await rig.confirm((ASKED, role(150, at=190), 1), *away, (ASKED, role(200, at=300), 1))
    assert rig.primaries[0].sent.count("PEXPIRE") == 3  # 199 has passed 190, where the primary was at first


async def test_after_a_move_of_the_slot_the_new_server_confirms(rig: Rig) -> None:
    await rig.confirm((MOVED, role(100), 1))
    assert rig.followed == [MOVED]
    assert rig.primaries[0].closed
    assert rig.primaries[1].sent.count("PEXPIRE") == 1


async def test_after_a_failover_the_new_primary_confirms_nothing_of_the_former_one(rig: Rig) -> None:
    rig.is_heir = False
    with pytest.raises(StorageUnavailable, match="without its last writes"):
        await rig.confirm((MOVED, role(100), 1))
    with pytest.raises(StorageUnavailable, match="without its last writes"):
        await rig.confirmer.confirm(rig.confirmer.reign - 1, wrote=True)


@pytest.mark.parametrize(
    "end", [(READONLY, role(100), 1), (1, [b"slave", b"h", 1, b"connected", 9], 1), (ConnectionResetError("x"),)]
)
async def test_a_primary_that_is_none_any_more_breaks_the_store(rig: Rig, end: tuple[object, ...]) -> None:
    with pytest.raises(StorageError):
        await rig.confirm(end)
    assert len(rig.broken) == 1


LEVEL = b"role:master\r\nmaster_repl_offset:9\r\nslave0:ip=h,port=1,state=online,offset=9,lag=1,type=replica\r\n"


async def test_a_read_writes_nothing_while_the_replicas_are_level(rig: Rig) -> None:
    await rig.confirm((LEVEL,), wrote=False)
    assert rig.primaries[0].sent == ["INFO"]


@pytest.mark.parametrize(
    "info",
    [
        LEVEL.replace(b"offset=9", b"offset=8"),
        LEVEL.replace(b"lag=1", b"lag=2"),
        LEVEL.replace(b"state=online,", b"state=wait_bgsave,"),
        b"role:master\r\nmaster_repl_offset:9\r\n",
        b"",
    ],
)
async def test_a_read_asks_the_replicas_unless_they_are_surely_level(rig: Rig, info: bytes) -> None:
    await rig.confirm((info,), (1, role(9), 1), wrote=False)
    assert rig.primaries[0].sent == ["INFO", "PEXPIRE", "ROLE", "WAIT"]


async def test_one_round_serves_all_who_wait_and_a_cancelled_one_harms_no_other(rig: Rig) -> None:
    rig.primaries[0].rounds.append((1, role(100), 1))
    calls = [asyncio.ensure_future(rig.confirmer.confirm(1, wrote=True)) for _ in range(50)]
    await asyncio.sleep(0)
    calls[7].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result for number, result in enumerate(results) if number != 7] == [None] * 49
    assert rig.primaries[0].sent.count("PEXPIRE") <= 2


async def test_closing_fails_those_who_wait(rig: Rig) -> None:
    rig.primaries[0].rounds.append(())
    call = asyncio.ensure_future(rig.confirmer.confirm(1, wrote=True))
    await asyncio.sleep(0.01)
    await rig.confirmer.close()
    with pytest.raises(StorageUnavailable):
        await call
