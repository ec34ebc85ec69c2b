"""A fault: it breaks one thing, shows by a measurement that it did, and mends it."""

from enum import Enum
from typing import ClassVar, Final

from realmkeep.drill.realm import Realm
from realmkeep.drill.stores.store import Trait


class Harm(Enum):
    """What a fault breaks; two faults at once break different things."""

    SERVER = "a server"
    STORE = "the store"
    DISK = "the disk"
    NETWORK = "the network"
    CLIENTS = "the clients"
    CLOCK = "a clock"
    ARCHIVE = "the cold tier"


class Fault:
    """One strike of a fault. A subclass breaks in `begin` and mends in `end`.

    Attributes:
        name: Its name on the command line.
        what: One sentence of what it does.
        harm: What it breaks.
        needs: The traits of a realm in which it can happen.
        expects: Words of alarms that are right here; any other alarm is a violation.
        lasting: It goes on until `end`, so that a sudden fault may happen meanwhile.
        sudden: It can happen while another fault goes on.
        evidence: What was measured: a process was seen dead, connections were cut. Without evidence it did not fire.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    harm: ClassVar[Harm]
    needs: ClassVar[frozenset[Trait]] = frozenset()
    expects: ClassVar[tuple[str, ...]] = ()
    lasting: ClassVar[bool] = False
    sudden: ClassVar[bool] = False

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        self.evidence: list[str] = []

    async def begin(self) -> None:
        """Break it.

        Raises:
            Stuck: The realm does not get to the point at which it can break.
        """
        raise NotImplementedError

    async def end(self) -> None:
        """Mend it.

        Raises:
            Stuck: The realm does not go on.
        """

    def saw(self, evidence: str) -> None:
        """Note what was measured."""
        self.evidence.append(evidence)

    def some_server(self) -> str:
        """Choose a server that runs."""
        return self.realm.random.choice(sorted(self.realm.lines))

    def struck(self) -> None:
        """Note that every server stands still from now on, as far as the promised window is concerned."""
        for name in self.realm.servers:
            self.realm.told.window.struck(name, self.realm.clock.monotonic_s())


FAULTS: Final[dict[str, type[Fault]]] = {}


def registered(cls: type[Fault]) -> type[Fault]:
    """Add a fault to `FAULTS`."""
    FAULTS[cls.name] = cls
    return cls


def possible(traits: frozenset[Trait]) -> dict[str, type[Fault]]:
    """Return the faults that can happen in a realm."""
    return {name: fault for name, fault in FAULTS.items() if fault.needs <= traits}


def lacking(needs: frozenset[Trait], traits: frozenset[Trait]) -> str:
    """Return why a fault with these needs cannot happen in a realm, in a few words."""
    return "; ".join(LACKING[trait] for trait in sorted(needs - traits, key=lambda trait: trait.value))


LACKING: Final[dict[Trait, str]] = {
    Trait.PROCESS: "the store has no process that the drill could hurt",
    Trait.SHARED: "one server alone uses the store",
    Trait.FILES: "the store's files cannot be replaced, or it may lose its end anyway",
    Trait.LOSSLESS: "the store acknowledges before it syncs to disk",
    Trait.COMMANDS: "the store does not have the commands of Valkey",
    Trait.LINK: "no proxy can stand before the store: it has several hosts, or TLS that verifies the host of a Redis",
    Trait.SHIM: "there is no shim between this store and its disk (it needs gcc, and a store of one process tree that the drill started)",
    Trait.TAKEOVER: "there is one server alone",
    Trait.REPLICAS: "the store has no replica",
    Trait.SLOTS: "the store is no cluster",
    Trait.OWN: "the drill did not start the store",
    Trait.ARCHIVE: "the realm has no cold tier (--archive)",
    Trait.DIRECTORY: "the store's files are not in a directory that the drill could copy",
}
