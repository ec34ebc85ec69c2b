"""A cluster, and a primary with sentinels, of the drill's own; its process is the primary, wherever that is by now."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from realmkeep.drill.checks.contents import Keys, Snapshot, read_redis
from realmkeep.drill.stores.store import Trait
from realmkeep.testing.replicated import LocalCluster, LocalSentinels, Node, wait_until

REALM: Final = "drill"
SILENCE_MS: Final = 1500  # then a primary has failed
IMPATIENT: Final = "?timeout_s=0.6&connect_timeout_s=0.6"
_TRAITS: Final = frozenset({Trait.OWN, Trait.PROCESS, Trait.SHARED, Trait.LOSSLESS, Trait.REPLICAS})


class _ReplicatedStore:
    """A primary with a replica. A primary that is killed comes back as the replica of the one that took its place."""

    traits = _TRAITS
    prefix = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._hurt: Node | None = None

    def primary(self) -> Node | None:
        """Return the live primary; None during a failover."""
        raise NotImplementedError

    def complete(self) -> None:
        """Return when the primary has its replica."""
        raise NotImplementedError

    def replica(self) -> Node:
        """Return the live replica."""
        raise NotImplementedError

    def led(self) -> Node:
        """Return the primary, after a failover."""
        found: list[Node] = []

        def is_there() -> bool:
            found.extend(node for node in [self.primary()] if node is not None)
            return bool(found)

        wait_until(is_there, "no replica was promoted")
        return found[0]

    def pid(self) -> int | None:
        """Return the process of the primary, if it lives."""
        primary = self.primary()
        return None if primary is None or primary.process is None else primary.process.pid

    def kill(self) -> None:
        """Kill the primary."""
        self._hurt = self.led()
        self._hurt.kill()

    def pause(self) -> None:
        """Stop the primary."""
        self._hurt = self.led()
        self._hurt.pause()

    def resume(self) -> None:
        """Wake it up, and return when it follows the one that took its place, if one did."""
        if self._hurt is not None:
            self._hurt.resume()
        self.complete()

    def read(self, keys: Keys) -> Snapshot:
        """Read the primary at one moment."""
        sent = Keys([self.prefix + key for key in keys.values], [self.prefix + key for key in keys.lists])
        found = read_redis(sent, unix_socket_path=str(self.led().socket_path))
        return Snapshot(
            {key: found.value(self.prefix + key) for key in keys.values},
            {key: found.entries(self.prefix + key) for key in keys.lists},
        )

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it as at any time."""
        return self.read(keys)


class ClusterStore(_ReplicatedStore):
    """A realm of a cluster of six."""

    prefix = f"{{{REALM}}}:"
    traits = _TRAITS | {Trait.SLOTS}

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cluster = LocalCluster(directory, node_timeout_ms=SILENCE_MS)

    @property
    def url(self) -> str:
        """The URL of the realm."""
        return self.cluster.url(REALM)

    def primary(self) -> Node | None:
        """Return the live primary of the realm."""
        return self.cluster.leader(REALM)

    def replica(self) -> Node:
        """Return its replica."""
        _, (replica,) = self.cluster.shard(REALM)
        return replica

    def complete(self) -> None:
        """Return when the cluster is complete."""
        self.cluster.wait_until_complete()

    def start(self) -> None:
        """Start the cluster; or, once another server leads, the one that was killed."""
        if self._hurt is None:
            self.cluster.start()
            return
        self.led()
        self._hurt.start()
        self.complete()

    def move(self) -> None:
        """Move the realm to another primary, key by key."""
        primary, _ = self.cluster.shard(REALM)
        target = next(node for node in self.cluster.nodes if node.is_primary and node is not primary)
        self.cluster.move_by_keys(REALM, target)

    def close(self) -> None:
        """End every server."""
        self.cluster.close()


class SentinelStore(_ReplicatedStore):
    """A primary with one replica, and three sentinels."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sentinels = LocalSentinels(directory, down_after_ms=SILENCE_MS)

    @property
    def url(self) -> str:
        """The URL of the store."""
        return self.sentinels.url()

    def primary(self) -> Node | None:
        """Return the live primary."""
        with suppress(OSError):  # the sentinels close every connection of a server whose role they change
            return next((node for node in self.sentinels.nodes if node.is_live and node.is_primary), None)
        return None

    def replica(self) -> Node:
        """Return its replica."""
        primary = self.led()
        return next(node for node in self.sentinels.nodes if node is not primary)

    def complete(self) -> None:
        """Return when the primary has its replica; the sentinels would take their time."""

        def is_complete() -> bool:
            with suppress(OSError):  # as above
                primaries = [node for node in self.sentinels.nodes if node.is_primary]
                return len(primaries) == 1 and primaries[0].replicas_online == 1
            return False

        wait_until(is_complete, "the replica does not follow")

    def start(self) -> None:
        """Start all of it; or, once the replica leads, the server that was killed, as a replica."""
        if self._hurt is None:
            self.sentinels.start()
            return
        leader = self.led()
        self._hurt.start()
        with suppress(OSError):  # as above; then a sentinel has said the same
            self._hurt.ask("REPLICAOF", "127.0.0.1", leader.port)
        self.complete()

    def close(self) -> None:
        """End every server."""
        self.sentinels.close()
