"""What must hold, whatever happens: checked against the store's own bytes, never against what the keeper believes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from realmkeep.keeping.live.envelope import Envelope, open_envelope
from realmkeep.records import load
from simulation.game import START_GOLD, Chest, Hero


class Contents(Protocol):
    """What a store holds: a `MemoryStore`, or a reading of a real one."""

    def value(self, key: str) -> bytes | None: ...
    def entries(self, key: str) -> Sequence[bytes]: ...


@dataclass
class Model:
    """What the players were told.

    Attributes:
        acked: Operations that were acknowledged, by hero: they must stay applied for ever.
        sent: Letters whose commit was acknowledged, by receiver.
        revisions: The highest revision seen, by key.
        violations: What broke.
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
            settled: Everybody has logged in since the last letter was sent, so none may be left.
        """
        gold = 0
        serials: list[int] = []
        back = came_back(store, self.heroes)
        for number in range(self.heroes):
            blob = store.value(f"sim-hero:{number}")
            inbox = unopened(store, f"sim-hero:{number}")
            gold += sum(letter["gold"] for letter in inbox)
            if blob is None:
                gold += START_GOLD
                continue
            hero = load(blob, Hero).require()
            gold += hero.gold
            serials += [sword.serial for sword in hero.swords]
            self._check_hero(number, hero, {letter["letter"] for letter in inbox}, back)
            self._check_revision(store, f"sim-hero:{number}:updated")
            if settled and (
                left := [*store.entries(f"sim-hero:{number}:inbox"), *store.entries(f"sim-hero:{number}:kept")]
            ):
                self.violations.append(f"hero {number} has letters left: {left}")
        chest = store.value("sim-chest:0")
        if chest is not None:
            held = load(chest, Chest).require()
            gold += held.gold
            if len(set(held.applied)) != len(held.applied):
                self.violations.append(f"a deposit was applied twice: {held.applied}")
        self._check_revision(store, "sim-chest:0:updated")
        if gold != START_GOLD * self.heroes:
            self.violations.append(f"{gold} gold in the store instead of {START_GOLD * self.heroes}")
        if len(serials) != len(set(serials)):
            self.violations.append(f"a serial is in two places: {sorted(serials)}")

    def _check_hero(self, number: int, hero: Hero, in_inbox: set[int], back: set[int]) -> None:
        for what, entries in (("operation", hero.applied), ("letter", hero.letters)):
            if len(set(entries)) != len(entries):
                self.violations.append(f"hero {number}: an {what} was applied twice: {entries}")
        if lost := self.acked[number] - set(hero.applied):
            self.violations.append(f"hero {number}: acknowledged operations are lost: {sorted(lost)}")
        if lost := self.sent[number] - set(hero.letters) - in_inbox - back:
            self.violations.append(f"hero {number}: letters are lost: {sorted(lost)}")
        if both := set(hero.letters) & in_inbox:
            self.violations.append(f"hero {number}: letters are applied and in the inbox: {sorted(both)}")

        if both := (set(hero.letters) | in_inbox) & back:
            self.violations.append(f"hero {number}: letters have come back, and are here: {sorted(both)}")

    def _check_revision(self, store: Contents, key: str) -> None:
        revision = int(store.value(key) or b"0")
        if revision < self.revisions.get(key, 0):
            self.violations.append(f"{key} went back from {self.revisions[key]} to {revision}")
        self.revisions[key] = revision

    def check_told(self, store: Contents, ops: dict[int, int], error: Exception) -> None:
        """Whoever was told that nothing happened was told the truth."""
        for number, op in ops.items():
            blob = store.value(f"sim-hero:{number}")
            if blob is not None and op in load(blob, Hero).require().applied:
                self.violations.append(f"hero {number}: operation {op} is stored, and its caller was told {error!r}")

    def check_tier_2(self, store: Contents, number: int, xp: int) -> None:
        """The store must hold at least what was earned before the promised window."""
        blob = store.value(f"sim-hero:{number}")
        stored = load(blob, Hero).require().xp if blob is not None else 0
        if stored < xp:
            self.violations.append(f"hero {number}: {xp - stored} xp older than the promised window are not stored")


def unopened(store: Contents, hero: str) -> list[dict[str, int]]:
    """The letters that a hero is still to open: without those that a crash of the store brought back.

    The ring knows those: the next login drops them, and applies none of them again.
    """
    stored = [*store.entries(f"{hero}:inbox"), *store.entries(f"{hero}:kept")]
    _, _, first = (store.value(f"{hero}:ops") or b"").partition(b"\n")[0].partition(b" ")  # behind its checksum
    opened: list[str] = msgspec.json.decode(first)["letters"] if first.startswith(b"{") else []
    letters = [open_envelope(letter) for letter in stored]
    return [_fields(letter) for letter in letters if letter.id not in opened]


def came_back(store: Contents, heroes: int) -> set[int]:
    """The letters that are with their senders again, or on their way back."""
    found: set[int] = set()
    for number in range(heroes):
        hero = f"sim-hero:{number}"
        blob = store.value(hero)
        applied = [] if blob is None else load(blob, Hero).require().letters
        found |= {-letter for letter in [*applied, *(each["letter"] for each in unopened(store, hero))] if letter < 0}
    return found


def _fields(letter: Envelope) -> dict[str, int]:
    """What a stored letter says; the number of one that comes back is negative, as where it is taken back."""
    if letter.kind != "returned":
        return letter.content
    fields: dict[str, int] = open_envelope(letter.content["envelope"].encode()).content
    return {**fields, "letter": -fields["letter"]}
