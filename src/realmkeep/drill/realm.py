"""A realm of real processes: a store, some game servers, and a crowd of players."""

import asyncio
import random
import select
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.bots.crowd import Crowd
from realmkeep.drill.bots.line import Line
from realmkeep.drill.bots.told import Answer, Told
from realmkeep.drill.checks import Stuck
from realmkeep.drill.checks.contents import NotReadable, Snapshot
from realmkeep.drill.checks.model import Model
from realmkeep.drill.checks.window import Window
from realmkeep.drill.disk.disk_shim import DiskShim
from realmkeep.drill.link import HostPort, Link, open_connection
from realmkeep.drill.played import PlayedGame, own_game
from realmkeep.drill.processes import START_S_MAX, ServerProcess, state_of
from realmkeep.drill.stores.redis import IMPATIENT, RedisStore
from realmkeep.drill.stores.store import Linked, Store, Trait
from realmkeep.testing.postgres_server import PostgresServer

HEROES: Final = 6
REALM_S_MAX: Final = 240.0  # a machine so slow is stuck
SETTLE_S_MAX: Final = 60.0
READ_TRIES: Final = 200
ANY_PORT: Final = HostPort("127.0.0.1", 0)
LETTERS_S: Final = 10.0
READ_AGAIN_S: Final = 0.05
CONFIG: Final = KeeperConfig(
    flush_interval_s=1.0, checkpoint_interval_s=2.0, sweep_interval_s=2.0, heartbeat_s=0.4, lease_ttl_s=1.2, grace_s=2.0,
    tier1_rate_per_s=1000, pending_after_s=0.5, shutdown_deadline_s=20.0, strict=True,
)  # fmt: skip


class Realm:
    """All of it.

    Args:
        store: The store.
        store_url: Its URL for the servers.
        names: The servers.
        directory: For sockets and logs.
        game: The game.
        bots: The number of players.
        seed: Decides what the players do, and which server is hurt.
        config: The keepers' settings, but their names.
        broken: A promise that no server keeps; see `server.breaks`.
        shim: The shim between the store and its disk, if there is one.
        archive: The cold tier; None for none.
    """

    def __init__(
        self, store: Store, store_url: str, names: tuple[str, ...], directory: Path, *, game: PlayedGame, bots: int,
        seed: int, config: KeeperConfig, broken: str = "", shim: DiskShim | None = None,
        archive: PostgresServer | None = None,
    ) -> None:  # fmt: skip
        self.clock = SystemClock()
        self.random = random.Random(seed)  # noqa: S311 - whims
        self.store = store
        self.shim = shim
        self.archive = archive
        self.game = game
        self.config = config
        self.servers = {
            name: ServerProcess(
                store_url,
                msgspec.structs.replace(config, name=name),
                directory,
                broken,
                game.spec,
                "" if archive is None else f"{archive.url}&timeout_s=1",
            )
            for name in names
        }
        self.lines: dict[str, Line] = {}
        self.links: dict[str, Link] = {}
        self.store_link: Link | None = None
        told = Told(Model(bots), Window(config.flush_interval_s), self.clock)
        self.crowd = Crowd(self.lines, told, bots, self.random, game.client)

    @property
    def told(self) -> Told:
        """The answers of all servers."""
        return self.crowd.told

    @property
    def traits(self) -> frozenset[Trait]:
        """What can be done to this realm."""
        several = [Trait.TAKEOVER] if len(self.servers) > 1 else []
        archive = [] if self.archive is None else [Trait.ARCHIVE]
        return (self.store.traits - ({Trait.SHIM} if self.shim is None else set())) | {*several, *archive}

    # --- processes

    async def start(self, name: str) -> None:
        """Start a server, or start it again.

        Raises:
            Stuck: It does not start.
        """
        await self.servers[name].start(self.told)
        if name in self.links:
            self.links[name].target = self.servers[name].socket
        await self.connect(name)

    async def connect(self, name: str) -> None:
        """Connect the clients to a server; an earlier connection to it must be closed.

        Raises:
            OSError: It does not listen.
        """
        reader, writer = await open_connection(
            self.links[name].listen if name in self.links else self.servers[name].socket
        )
        self.lines[name] = Line(name, reader, writer, self.told)

    async def connect_again(self) -> None:
        """Connect the clients again to every live server whose connection has ended."""
        for name, line in [*self.lines.items()]:
            process = self.servers[name].process
            if not line.is_open and process is not None and process.poll() is None:
                await line.close()
                with suppress(OSError):  # it has died since, or the network is cut: the next call tries again
                    await self.connect(name)

    async def ask(self, name: str, do: str, **arguments: object) -> Answer:
        """Ask a server until it answers.

        Raises:
            Stuck: It does not within a minute.
        """
        try:
            async with self.clock.timeout(START_S_MAX):
                while True:
                    try:
                        return await self.lines[name].send(do, **arguments)
                    except ConnectionError:
                        await self.connect_again()
                        await self.clock.sleep(POLL_S)
        except TimeoutError:
            raise Stuck(f"{name} does not answer {do}") from None

    async def add_links(self, directory: Path) -> None:
        """Put a proxy before each server, and before the store if it is reached over a connection."""
        for name in self.servers:
            self.links[name] = Link(directory / f"{name}.link", self.servers[name].socket, self.clock)
        for link in self.links.values():
            await link.start()

    async def start_all(self) -> None:
        """Start every server that does not run.

        Raises:
            Stuck: One does not start.
        """
        idle = [name for name, server in self.servers.items() if server.process is None]
        started = await asyncio.gather(*map(self.start, idle), return_exceptions=True)
        for error in started:
            if error is not None:
                raise error

    async def kill(self, name: str) -> int:
        """Send SIGKILL to a server; return its exit code."""
        self.told.window.struck(name, self.clock.monotonic_s())
        code = self.servers[name].kill()
        await self.hang_up(name)
        return code

    async def hang_up(self, name: str) -> None:
        """Close the connection to a server that is dead or dying; the answers that it sent before are read."""
        line = self.lines.pop(name, None)
        if line is not None:
            await line.close()
        self.told.window.struck(name, self.clock.monotonic_s())

    async def close(self, name: str) -> None:
        """Shut a server down as an operator would; it must have saved everything.

        Raises:
            Stuck: It has not, or its exit code is not 0.
        """
        answer = await self.ask(name, "close")
        if answer.get("rescued") != []:
            raise Stuck(f"{name} did not save everything at its end: {answer}")
        await self.hang_up(name)
        if code := await asyncio.to_thread(self.servers[name].end):
            raise Stuck(f"{name} ended with {code}")

    async def end(self) -> None:
        """Stop every process."""
        await self.crowd.abandon()
        for server in self.servers.values():
            if server.process is not None:
                server.kill()
        for line in self.lines.values():
            await line.close()
        for link in [*self.links.values(), *([self.store_link] if self.store_link else [])]:
            await link.stop()
        with suppress(Stuck):  # it is dead
            await asyncio.to_thread(self.store.close)
        if self.archive is not None:
            await asyncio.to_thread(self.archive.close)

    def describe(self) -> str:
        """Return the last words of every server."""
        return "\n".join(line for server in self.servers.values() for line in server.tell())

    def note_wrong(self, wrong: list[str]) -> None:
        """Add a violation to the history, with the last words of the servers and the contents of the store."""
        store: dict[str, list[str]] = {}
        with suppress(Stuck):  # it cannot be read
            store = self.snapshot().texts()
        self.told.note(do="wrong", wrong=wrong, servers=self.describe(), store=store)

    # --- play

    async def play(self, operations: int) -> None:
        """Return when so many more operations of players were acknowledged.

        Raises:
            Stuck: They are not.
        """
        enough = self.told.acked + operations
        await self.crowd.until(lambda: self.told.acked >= enough, f"{operations} operations are acknowledged")

    async def play_on(self, operations: int = 25) -> None:
        """`play`, and then find everything in the store.

        Raises:
            Stuck: The store lacks an operation, or has too much.
        """
        await self.play(operations)
        if wrong := self.wrong():
            raise Stuck(str(wrong))

    async def state(self, name: str) -> Answer:
        """Return what a server says of itself."""
        return await self.ask(name, "state")

    async def degraded(self, name: str) -> list[str]:
        """Return the reasons why a server does not keep its promise."""
        return (await self.state(name))["degraded"]

    async def until_degraded(self, name: str, *, expected: bool = True) -> list[str]:
        """Return when a server says that it does not keep its promise, or that it does.

        Raises:
            Stuck: It does not say so within a minute.
        """
        told: list[str] = []
        try:
            async with self.clock.timeout(START_S_MAX):
                while bool(told := await self.degraded(name)) is not expected:
                    await self.clock.sleep(POLL_S)
        except TimeoutError:
            raise Stuck(f"{name} is {'' if expected else 'still '}degraded: {told}") from None
        return told

    def players_of(self, name: str) -> set[str]:
        """Return the players that a server owns, as the store has it."""
        snapshot = self.snapshot()
        owned = {key for key in self.game.owners if (snapshot.value(key) or b"").startswith(f"{name}/".encode())}
        return {key.split(":")[1] for key in owned}

    # --- what must hold

    def snapshot(self) -> Snapshot:
        """Read the store as it is now; no answer is read meanwhile.

        Raises:
            Stuck: It does not answer for some seconds.
        """
        with ExitStack() as stopped:
            if Trait.PROCESS not in self.store.traits:
                for server in self.servers.values():
                    if server.process is not None and state_of(server.pid) in {"R", "S", "D"}:
                        server.pause()
                        stopped.callback(server.resume)
            for _ in range(READ_TRIES):
                try:
                    return self.store.read(self.game.keys)
                except NotReadable:
                    select.select([], [], [], READ_AGAIN_S)
            raise Stuck("the store cannot be read")

    def wrong(self) -> list[str]:
        """Return what the store lacks, or has too much of, now."""
        return self.game.check(self.told, self.snapshot())

    async def settled_wrong(self) -> list[str]:
        """Return what is still wrong when every server says that it keeps its promise; a loss may be mended until then."""
        try:
            async with self.clock.timeout(SETTLE_S_MAX):
                while wrong := self.wrong():
                    self.told.model.violations.clear()
                    self.told.model.revisions.clear()
                    if Trait.LOSSLESS in self.store.traits:
                        return wrong
                    await self.clock.sleep(POLL_S)
        except TimeoutError:
            return self.wrong()
        return []

    async def calm_down(self, *expected: str) -> Snapshot:
        """Stop the faults: every client hears of its last request, every letter arrives, every server closes cleanly.

        Args:
            expected: Words of the alarms that may be said.

        Raises:
            Stuck: Something of this does not happen.
        """
        await self.crowd.stop()
        await self.crowd.gather()
        told = self.told
        for name in self.servers:
            await self.until_degraded(name, expected=False)
        snapshot = await self._until_flushed()
        for name in self.servers:
            state = await self.state(name)
            if (state["forgotten"], state["violations"]) != (0, 0):
                raise Stuck(f"{name} forgot marks or changed tier 1 outside a commit: {state}")
            await self.close(name)
            if said := [line for line in self.servers[name].alarms() if not any(each in line for each in expected)]:
                raise Stuck(f"{name} gave an alarm: {said}")
        snapshot = await asyncio.to_thread(self.store.read_at_rest, self.game.keys)
        told.note(do="the end", wrong=self.game.check(told, snapshot, settled=True))
        return snapshot

    async def _until_flushed(self) -> Snapshot:
        """Return when no session is dirty and no letter waits."""
        dirty, waiting = list[str](), list[str]()
        try:
            async with self.clock.timeout(SETTLE_S_MAX):
                began_s = self.clock.monotonic_s()
                while True:
                    snapshot = self.snapshot()
                    dirty = [name for name in self.servers if (await self.state(name))["dirty"]]
                    waiting = [key for key in self.game.keys.lists if key.endswith(":inbox") and snapshot.entries(key)]
                    if not dirty and not waiting:
                        return snapshot
                    if waiting and self.clock.monotonic_s() - began_s > LETTERS_S:
                        await self._log_in_again(waiting)
                        began_s = self.clock.monotonic_s()
                    await self.clock.sleep(POLL_S)
        except TimeoutError:
            raise Stuck(f"not flushed: {dirty}; letters that do not arrive: {waiting}") from None

    async def _log_in_again(self, inboxes: list[str]) -> None:
        """Log receivers out and in: a notice of a letter may be missed when a store fails, and the next login finds it."""
        self.told.note(do="letters wait for a login", inboxes=inboxes)
        for who in {int(inbox.split(":")[1]) for inbox in inboxes}:
            for name in self.servers:
                await self.ask(name, "logout", who=who)
            self.crowd.clients[who].at = None
            await self.crowd.clients[who].find()


@asynccontextmanager
async def open_realm(
    directory: Path,
    *,
    seed: int,
    names: tuple[str, ...] = ("north", "south"),
    config: KeeperConfig = CONFIG,
    store_options: str = IMPATIENT,
    mutant: str = "",
    make_store: Callable[[Path], Store] = RedisStore,
    game: PlayedGame | None = None,
    bots: int = HEROES,
    shim: DiskShim | None = None,
    network: bool = False,
    limit_s: float = REALM_S_MAX,
    archived: bool = False,
) -> AsyncGenerator[Realm]:
    """Open a realm with its servers up; every process is ended, whatever happens.

    Args:
        directory: For the store.
        seed: Decides what the players do, and which server is hurt.
        names: The servers.
        config: Of every server, but its name.
        store_options: What follows the URL of the store.
        mutant: A promise that no server keeps; see `server.breaks`.
        make_store: Makes the store of a directory.
        game: The game; by default the drill's own.
        bots: The number of players.
        shim: The shim between the store and its disk.
        network: Put proxies before the servers, and before a store that is reached over a connection.
        limit_s: The longest life of the realm.
        archived: A PostgreSQL follows the store as its cold tier.

    Raises:
        Stuck: A server does not start.
        TimeoutError: The realm lives longer than `limit_s`.
    """
    with tempfile.TemporaryDirectory(prefix="rk-") as private:  # a socket's name must be short
        store_directory = directory / "store"
        store_directory.mkdir(exist_ok=True)
        store = await asyncio.to_thread(make_store, store_directory)
        if shim is not None:
            shim.settle()
        link = await _store_link(store, Path(private)) if network else None
        url = store.url if link is None else link_url(store, link)
        archive = await asyncio.to_thread(_started_archive) if archived else None
        realm = Realm(
            store, url + store_options, names, Path(private), game=game or own_game(bots), bots=bots, seed=seed,
            config=config, broken=mutant, shim=shim, archive=archive,
        )  # fmt: skip
        realm.store_link = link
        try:
            await asyncio.to_thread(store.start)
            if network:
                await realm.add_links(Path(private))
            await realm.start_all()
            async with realm.clock.timeout(limit_s):
                yield realm
        except BaseException:
            sys.stderr.write(realm.describe() + "\n")
            raise
        finally:
            await realm.end()


def _started_archive() -> PostgresServer:
    """Start a cold tier. Blocks."""
    return PostgresServer().__enter__()


async def _store_link(store: Store, private: Path) -> Link | None:
    if not isinstance(store, Linked) or Trait.LINK not in store.traits:
        return None
    target = store.endpoint
    listen = private / target.name if isinstance(target, Path) else ANY_PORT  # a driver may know a socket by its name
    link = Link(listen, target, SystemClock())
    await link.start()
    return link


def link_url(store: Store, link: Link) -> str:
    """Return the URL of a store behind a proxy."""
    assert isinstance(store, Linked)
    return store.url_behind(link.listen)
