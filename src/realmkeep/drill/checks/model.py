"""What must hold in every state of a store, checked against the store's own bytes and never against a keeper's belief."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from realmkeep.drill.game import START_GOLD, Chest, Hero
from realmkeep.errors import RecordError
from realmkeep.keeping.live.envelope import Envelope, open_envelope
from realmkeep.records import Record, load

R = TypeVar("R", bound=Record)


class Contents(Protocol):
    """The contents of a store: a `MemoryStore`, or a reading of a real one."""

    def value(self, key: str) -> bytes | None:
        """The value of a key."""
        ...

    def entries(self, key: str) -> Sequence[bytes]:
        """The entries of a list."""
        ...


@dataclass
class Model:
    """What the players were told.

    Attributes:
        heroes: The number of heroes.
        acked: Operations that were acknowledged, by hero: they must stay applied for ever.
        sent: Letters whose commit was acknowledged, by receiver.
        revisions: The highest revision seen, by key.
        violations: What broke, each with the name of its check first.
    """

    heroes: int
    acked: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    sent: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    revisions: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def check(self, store: Contents, *, settled: bool = False) -> None:
        """Look at the store as it is now.

        Args:
            store: The store.
            settled: Every player has logged in since the last letter was sent, so no letter may be left.
        """
        gold = 0
        serials: list[int] = []
        back = came_back(store, self.heroes)
        for number in range(self.heroes):
            key = f"sim-hero:{number}"
            inbox = unopened(store, key)
            gold += sum(letter["gold"] for letter in inbox)
            hero = self._read(store, key, Hero)
            if hero is None:
                gold += START_GOLD
                continue
            gold += hero.gold
            serials += [sword.serial for sword in hero.swords]
            self._check_hero(number, hero, {letter["letter"] for letter in inbox}, back)
            self._check_revision(store, f"{key}:updated")
            if settled and (left := [*store.entries(f"{key}:inbox"), *store.entries(f"{key}:kept")]):
                self.violations.append(f"durable: hero {number} has letters left: {left}")
        chest = self._read(store, "sim-chest:0", Chest)
        if chest is not None:
            gold += chest.gold
            if len(set(chest.applied)) != len(chest.applied):
                self.violations.append(f"once: a deposit was applied twice: {chest.applied}")
        self._check_revision(store, "sim-chest:0:updated")
        if gold != START_GOLD * self.heroes:
            self.violations.append(f"conserved: {gold} gold in the store instead of {START_GOLD * self.heroes}")
        if len(serials) != len(set(serials)):
            self.violations.append(f"conserved: a serial is in two places: {sorted(serials)}")

    def _read(self, store: Contents, key: str, cls: type[R]) -> R | None:
        blob = store.value(key)
        try:
            return None if blob is None else load(blob, cls).require()
        except RecordError as error:
            self.violations.append(f"corruption: {key} cannot be read: {error}")
            return None

    def _check_hero(self, number: int, hero: Hero, in_inbox: set[int], back: set[int]) -> None:
        for what, entries in (("operation", hero.applied), ("letter", hero.letters)):
            if len(set(entries)) != len(entries):
                self.violations.append(f"once: hero {number}: an {what} was applied twice: {entries}")
        if lost := self.acked[number] - set(hero.applied):
            self.violations.append(f"durable: hero {number}: acknowledged operations are lost: {sorted(lost)}")
        if lost := self.sent[number] - set(hero.letters) - in_inbox - back:
            self.violations.append(f"durable: hero {number}: letters are lost: {sorted(lost)}")
        if both := set(hero.letters) & in_inbox:
            self.violations.append(f"once: hero {number}: letters are applied and in the inbox: {sorted(both)}")
        if both := (set(hero.letters) | in_inbox) & back:
            self.violations.append(f"once: hero {number}: letters have come back, and are here: {sorted(both)}")

    def _check_revision(self, store: Contents, key: str) -> None:
        revision = int(store.value(key) or b"0")
        if revision < self.revisions.get(key, 0):
            self.violations.append(f"revisions: {key} went back from {self.revisions[key]} to {revision}")
        self.revisions[key] = revision

    def check_told(self, store: Contents, ops: dict[int, int], error: Exception) -> None:
        """A client that was told of an error was told the truth: nothing happened."""
        for number, op in ops.items():
            blob = store.value(f"sim-hero:{number}")
            if blob is not None and op in load(blob, Hero).require().applied:
                told = f"operation {op} is stored, and its caller was told {error!r}"
                self.violations.append(f"invented: hero {number}: {told}")

    def check_tier_2(self, store: Contents, number: int, xp: int) -> None:
        """The store must hold at least the experience that was earned before the promised window."""
        blob = store.value(f"sim-hero:{number}")
        stored = load(blob, Hero).require().xp if blob is not None else 0
        if stored < xp:
            lacking = f"{xp - stored} xp older than the promised window are not stored"
            self.violations.append(f"window: hero {number}: {lacking}")


def unopened(store: Contents, hero: str) -> list[dict[str, int]]:
    """Return the letters that a hero is still to open, without those that a crash of the store brought back.

    The ring knows the latter: the next login drops them, and applies none of them again.
    """
    stored = [*store.entries(f"{hero}:inbox"), *store.entries(f"{hero}:kept")]
    _, _, first = (store.value(f"{hero}:ops") or b"").partition(b"\n")[0].partition(b" ")  # behind its checksum
    opened: list[str] = msgspec.json.decode(first)["letters"] if first.startswith(b"{") else []
    letters = [open_envelope(letter) for letter in stored]
    return [_fields(letter) for letter in letters if letter.id not in opened]


def came_back(store: Contents, heroes: int) -> set[int]:
    """Return the letters that are with their senders again, or on their way back."""
    found: set[int] = set()
    for number in range(heroes):
        hero = f"sim-hero:{number}"
        blob = store.value(hero)
        try:
            applied = [] if blob is None else load(blob, Hero).require().letters
        except RecordError:  # `Model.check` reports it
            applied = []
        found |= {-letter for letter in [*applied, *(each["letter"] for each in unopened(store, hero))] if letter < 0}
    return found


def _fields(letter: Envelope) -> dict[str, int]:
    """The fields of a stored letter; the number of one that comes back is negative, as where it is taken back."""
    if letter.kind != "returned":
        return letter.content
    fields: dict[str, int] = open_envelope(letter.content["envelope"].encode()).content
    return {**fields, "letter": -fields["letter"]}
