"""A cluster, and a primary with sentinels, of real servers on this machine: for tests, and for `realmkeep dev-cluster`."""

import random
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Final, Self, cast
from urllib.parse import urlsplit

from typing_extensions import override

from realmkeep.clock import SystemClock
from realmkeep.storage.embedded_config import Fsync
from realmkeep.storage.replicated.address import SLOTS, ReplicatedAddress, parse_replicated_url
from realmkeep.testing.servers import StoreServer

READY_S_MAX: Final = 60.0  # seconds; a cluster takes two to three, on a busy machine longer
POLL_S: Final = 0.02
PORTS: Final = range(20_000, 32_000)  # below those that systems give to connections
BUS: Final = 10_000  # the port of the servers' own bus lies this far above
SHARDS: Final = 3
PLACES: Final = 4  # in an entry of CLUSTER SLOTS: first and last slot, a primary, its replica
NODE_TIMEOUT_MS: Final = 5000
SENTINELS: Final = 3
PRIMARY_NAME: Final = "realmkeep"


class Node(StoreServer):
    """One server with a port on loopback.

    Args:
        directory: Made if absent; or with the files of an earlier run.
        port: Its port.
        lines: More lines of configuration.
        fsync: See `StoreSettings`.
    """

    def __init__(self, directory: Path, port: int, lines: Sequence[str] = (), *, fsync: Fsync = "always") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        extra = "".join(f"{line}\n" for line in (f"port {port}", "bind 127.0.0.1", 'save ""', *lines))
        super().__init__(directory, fsync=fsync, extra=extra)
        self.port = port
        self._stands_still = False

    def info(self, section: str) -> dict[str, str]:
        """The answer to INFO."""
        text = cast("bytes", self.ask("INFO", section)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    @property
    def node_id(self) -> str:
        """Its name in its cluster."""
        return cast("bytes", self.ask("CLUSTER", "MYID")).decode()

    @property
    def is_live(self) -> bool:
        """Whether its process runs, and does not stand still."""
        return self.process is not None and self.process.poll() is None and not self._stands_still

    @override
    def start(self, *, wait: bool = True) -> None:
        """As `StoreServer.start`."""
        self._stands_still = False
        super().start(wait=wait)

    @override
    def pause(self) -> None:
        """As `StoreServer.pause`."""
        super().pause()
        self._stands_still = True

    @override
    def resume(self) -> None:
        """As `StoreServer.resume`."""
        super().resume()
        self._stands_still = False

    @property
    def is_primary(self) -> bool:
        """Whether it says that it is one."""
        return self.info("replication")["role"] == "master"

    @property
    def replicas_online(self) -> int:
        """Its replicas that are online."""
        return len(cast("list[list[object]]", self.ask("ROLE"))[2])


def cluster_lines(*, node_timeout_ms: int = NODE_TIMEOUT_MS) -> tuple[str, ...]:
    """The lines of configuration by which a server is one of a cluster for realms."""
    return (
        "cluster-enabled yes",
        f"cluster-node-timeout {node_timeout_ms}",
        "cluster-require-full-coverage no",
        "cluster-replica-validity-factor 10",
        "cluster-allow-replica-migration no",
        *REPLICATION_LINES,
    )


REPLICATION_LINES: Final = ("min-replicas-to-write 1", "min-replicas-max-lag 5", "repl-diskless-sync-delay 0")


class _Servers:
    """Some servers that start and end together."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._undo = ExitStack()

    def _start(self) -> None:
        for node in self.nodes:
            self._undo.callback(node.close)
            node.start(wait=False)
        for node in self.nodes:
            node.wait_until_ready()

    def close(self) -> None:
        """End all of them."""
        self._undo.close()

    def start(self) -> None:
        """Start all of them; returns when a realm can be opened."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """`start`; if that fails, clean up."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class LocalCluster(_Servers):
    """Three primaries, each with a replica, on loopback.

    It is synchronous: use it in fixtures, or in a thread.

    Args:
        directory: Empty, or with the files of an earlier run.
        port: The first of six ports, each with another one 10,000 above; 0: free ones are chosen.
        fsync: See `StoreSettings`.
        node_timeout_ms: The silence after which a primary counts as failed.
        lines: More lines of configuration.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        fsync: Fsync = "always",
        node_timeout_ms: int = NODE_TIMEOUT_MS,
        lines: Sequence[str] = (),
    ) -> None:
        super().__init__()
        first = port or free_ports(2 * SHARDS)
        configured = (*cluster_lines(node_timeout_ms=node_timeout_ms), *lines)
        self.nodes = [
            Node(directory / f"node-{number}", first + number, configured, fsync=fsync) for number in range(2 * SHARDS)
        ]

    def url(self, realm: str, options: str = "") -> str:
        """The URL of a realm."""
        return f"redis-cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[-1].port}/{realm}{options}"

    @override
    def start(self) -> None:
        """As `_Servers.start`."""
        is_new = not (self.nodes[0].directory / "nodes.conf").exists()
        self._start()
        if is_new:
            self._form()
        self.wait_until_complete()

    def wait_until_complete(self) -> None:
        """Return when every server knows every slot, and every primary has its replica.

        Raises:
            TimeoutError: They do not within a minute.
        """
        wait_until(self._is_complete, "the cluster is not complete")

    def wait_until_led(self, realm: str) -> Node:
        """Return a live primary of the realm that the others know, after a failover.

        Raises:
            TimeoutError: There is none within a minute.
        """
        wait_until(lambda: self.leader(realm) is not None, f"the realm {realm} has no primary")
        leader = self.leader(realm)
        assert leader is not None
        return leader

    def leader(self, realm: str) -> Node | None:
        """The live primary of a realm; None during a failover."""
        primary, _ = self.shard(realm)
        is_led = primary.is_live and b"cluster_state:ok" in cast("bytes", primary.ask("CLUSTER", "INFO"))
        return primary if is_led and primary.is_primary else None

    def _form(self) -> None:
        primaries, replicas = self.nodes[:SHARDS], self.nodes[SHARDS:]
        for number, node in enumerate(primaries):
            first, stop = number * SLOTS // SHARDS, (number + 1) * SLOTS // SHARDS
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, stop - 1)
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for other in self.nodes[:number]:
                node.ask("CLUSTER", "MEET", "127.0.0.1", other.port)
        wait_until(self._all_have_met, "the servers did not meet")
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.node_id)

    def _all_have_met(self) -> bool:
        lines = [cast("bytes", node.ask("CLUSTER", "NODES")).decode().splitlines() for node in self.nodes]
        return all(len(each) == len(self.nodes) and "handshake" not in " ".join(each) for each in lines)

    def _is_complete(self) -> bool:
        if any(b"cluster_state:ok" not in cast("bytes", node.ask("CLUSTER", "INFO")) for node in self.nodes):
            return False
        known = [cast("list[list[object]]", node.ask("CLUSTER", "SLOTS")) for node in self.nodes]
        if any(len(shard) < PLACES for each in known for shard in each):
            return False
        primaries = [node for node in self.nodes if node.is_primary]
        return len(primaries) == SHARDS and all(node.replicas_online for node in primaries)

    def move(self, realm: str, to: Node) -> None:
        """Move the slot of a realm to another primary, at one moment, as Valkey 9 does; returns when it is there.

        Raises:
            TimeoutError: It is not within a minute.
        """
        primary, _ = self.shard(realm)
        slot = self.slot(realm)
        primary.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to.node_id)
        wait_until(lambda: self.shard(realm)[0] is to, f"the slot of {realm} did not move")

    def move_by_keys(self, realm: str, to: Node, *, at_once: int = 10) -> None:
        """Move the slot of a realm to another primary, some keys at a time, as older versions do."""
        primary, _ = self.shard(realm)
        slot = self.slot(realm)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", primary.node_id)
        primary.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.node_id)
        while keys := cast("list[bytes]", primary.ask("CLUSTER", "GETKEYSINSLOT", slot, at_once)):
            moved = primary.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            if isinstance(moved, Exception):
                raise moved
        for node in (to, primary):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.node_id)

    def slot(self, realm: str) -> int:
        """The slot of a realm."""
        return _parsed(self.url(realm)).slot

    def shard(self, realm: str) -> tuple[Node, list[Node]]:
        """The primary that has a realm, and its replicas, as the live servers say."""
        slot = self.slot(realm)
        for asked in self.nodes:
            if not asked.is_live:
                continue
            for start, stop, primary, *replicas in cast("list[list[list[bytes]]]", asked.ask("CLUSTER", "SLOTS")):
                if cast("int", start) <= slot <= cast("int", stop):
                    return self._at(primary), [self._at(each) for each in replicas]
        raise LookupError(f"no live server has slot {slot}")

    def replicas_of(self, primary: Node) -> list[Node]:
        """The other servers of a shard, in the order in which the cluster was made."""
        number = self.nodes.index(primary)
        return [
            node for other, node in enumerate(self.nodes) if node is not primary and other % SHARDS == number % SHARDS
        ]

    def _at(self, entry: Sequence[object]) -> Node:
        return next(node for node in self.nodes if node.port == entry[1])


class SentinelNode(Node):
    """One sentinel."""

    options: ClassVar[tuple[str, ...]] = ("--sentinel",)


class LocalSentinels(_Servers):
    """A primary with replicas, and three sentinels that watch it, on loopback.

    It is synchronous: use it in fixtures, or in a thread.

    Args:
        directory: Empty, or with the files of an earlier run.
        replicas: The number of replicas.
        fsync: See `StoreSettings`.
        down_after_ms: The silence after which the primary counts as failed.
    """

    def __init__(
        self, directory: Path, *, replicas: int = 1, fsync: Fsync = "always", down_after_ms: int = 5000
    ) -> None:
        super().__init__()
        first = free_ports(1 + replicas + SENTINELS)
        following = (*REPLICATION_LINES, f"replicaof 127.0.0.1 {first}")
        self.nodes = [Node(directory / "primary", first, REPLICATION_LINES, fsync=fsync)]
        self.nodes += [
            Node(directory / f"replica-{number}", first + number, following, fsync=fsync)
            for number in range(1, replicas + 1)
        ]
        self.sentinels = [
            SentinelNode(
                directory / f"sentinel-{number}",
                first + replicas + 1 + number,
                (
                    f"sentinel monitor {PRIMARY_NAME} 127.0.0.1 {first} {SENTINELS // 2 + 1}",
                    f"sentinel down-after-milliseconds {PRIMARY_NAME} {down_after_ms}",
                    f"sentinel failover-timeout {PRIMARY_NAME} {4 * down_after_ms}",
                ),
            )
            for number in range(SENTINELS)
        ]

    def url(self, options: str = "") -> str:
        """The URL of the store."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis-sentinel://{hosts}/{PRIMARY_NAME}/0{options}"

    @override
    def start(self) -> None:
        """As `_Servers.start`."""
        self._start()
        wait_until(lambda: self.nodes[0].replicas_online == len(self.nodes) - 1, "the replicas do not follow")
        for sentinel in self.sentinels:
            self._undo.callback(sentinel.close)
            sentinel.start(wait=False)
        for sentinel in self.sentinels:
            sentinel.wait_until_ready()
        wait_until(self._all_know_each_other, "the sentinels did not find each other")

    def _all_know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            flat = cast("list[bytes]", sentinel.ask("SENTINEL", "MASTER", PRIMARY_NAME))
            told = dict(zip(flat[::2], flat[1::2], strict=True))
            if int(told[b"num-other-sentinels"]) < SENTINELS - 1 or int(told[b"num-slaves"]) < len(self.nodes) - 1:
                return False
        return True


def _parsed(url: str) -> ReplicatedAddress:
    return parse_replicated_url(urlsplit(url))


def wait_until(holds: Callable[[], bool], why: str) -> None:
    """Return when a condition holds.

    Raises:
        TimeoutError: It does not within a minute.
    """
    clock, pause = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + READY_S_MAX
    while not holds():
        if clock.monotonic_s() >= deadline_s:
            raise TimeoutError(why)
        pause.wait(POLL_S)


def free_ports(count: int) -> int:
    """Return the first of some ports that are free in a row, together with those of their bus."""
    chance = random.Random()  # noqa: S311 - a port, no secret
    while True:
        first = chance.randrange(PORTS.start, PORTS.stop - count)
        if all(_is_free(port) and _is_free(port + BUS) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
