"""What a store must hold of a studio's game after what clients were told.

A commit leaves beside each record the operation with its recorded result: here the worth of both players after the trade. So
the stored worth of a player must be one that a stored operation has left, and all worth together must be as at the start.
"""

from collections import Counter
from typing import Any

import msgspec

from realmkeep.drill.bots.told import Promise, Told
from realmkeep.drill.checks.contents import Snapshot
from realmkeep.drill.studio import kind_of
from realmkeep.errors import RecordError
from realmkeep.records import load
from realmkeep.testing.drill import GameDriver

SEAL_BYTES = 9  # a checksum and a blank before each line


def recorded_ops(stored: bytes | None) -> list[tuple[int, Any]]:
    """Return the operations beside a record, with their results, in their stored order."""
    lines = [line[SEAL_BYTES:] for line in (stored or b"").split(b"\n")[:-1]]
    told = [msgspec.json.decode(line) for line in lines if line.startswith(b"[")]
    return [(op, result) for op, _digest, result in told]


class StudioCheck:
    """The checks of one game.

    Args:
        driver: The game.
        bots: The number of players.
    """

    def __init__(self, driver: GameDriver, bots: int) -> None:
        self._driver = driver
        self._kind = kind_of(driver)
        self._new = [driver.create(number) for number in range(bots)]
        self._revisions: dict[int, int] = {}

    def violations(self, told: Told, contents: Snapshot, *, settled: bool = False) -> list[str]:
        """Return what is wrong, each sentence with the name of its check first; `settled` changes nothing here."""
        wrong = [*told.defects, *told.window.violations]
        total: Counter[str] = Counter()
        for number, new in enumerate(self._new):
            player = self._read(number, contents, wrong)
            total.update(self._driver.worth(new if player is None else player))
            total.subtract(self._driver.worth(new))
            ops = recorded_ops(contents.value(f"{self._kind}:{number}:ops"))
            wrong += self._of_ops(told, number, ops)
            if player is None:
                wrong += [f"durable: player {number} is gone"] if told.model.acked[number] else []
                continue
            wrong += self._of_player(told, number, player, ops)
            wrong += self._of_revision(told, number, contents)
        if off := {name: amount for name, amount in total.items() if amount}:
            wrong.append(f"conserved: all players together have more or less than at the start: {off}")
        return wrong

    def forgive(self, told: Told, contents: Snapshot, *, loss_s: float) -> float:
        """Take back what a store that syncs late has lost with the power; return the age of the oldest loss in seconds."""
        applied = {
            number: {op for op, _ in recorded_ops(contents.value(f"{self._kind}:{number}:ops"))}
            for number in range(len(self._new))
        }

        def kept(promise: Promise) -> bool:
            return promise.number in applied[promise.who] or promise.number < min(applied[promise.who], default=0)

        self._revisions.clear()
        return told.forgive(kept, loss_s)

    def _read(self, number: int, contents: Snapshot, wrong: list[str]) -> Any:
        blob = contents.value(f"{self._kind}:{number}")
        try:
            return None if blob is None else load(blob, self._driver.players).require()
        except RecordError as error:
            wrong.append(f"corruption: {self._kind}:{number} cannot be read: {error}")
            return None

    def _of_ops(self, told: Told, number: int, ops: list[tuple[int, Any]]) -> list[str]:
        ids = [op for op, _ in ops]
        wrong: list[str] = []
        if doubled := [op for op, count in Counter(ids).items() if count > 1]:
            wrong.append(f"once: player {number}: operations were applied twice: {doubled}")
        if lost := [op for op in told.model.acked[number] if op not in ids and op > min(ids, default=0)]:
            wrong.append(f"durable: player {number}: acknowledged operations are lost: {sorted(lost)}")
        if done := told.refused[number].intersection(ids):
            wrong.append(f"invented: player {number}: operations that were refused are applied: {sorted(done)}")
        for op, result in ops:
            answered = told.results.get((number, op))
            if answered is not None and answered != result:
                wrong.append(f"once: player {number}: operation {op} is recorded as {result}, and was told {answered}")
        return wrong

    def _of_player(self, told: Told, number: int, player: Any, ops: list[tuple[int, Any]]) -> list[str]:
        wrong: list[str] = []
        gave = {give: 0 for who, _, give, _ in told.trades if who == number}
        took = {take: 1 for _, who, _, take in told.trades if who == number}
        left = [result[{**gave, **took}[op]] for op, result in ops if op in gave or op in took]
        worth = dict(self._driver.worth(player))
        if ops and worth not in left:
            wrong.append(f"atomic: player {number} has {worth}, which no stored operation has left")
        progress, new = self._driver.progress(player), self._driver.progress(self._new[number])
        if progress < told.xp[number]:
            lacking = told.xp[number] - progress
            wrong.append(f"durable: player {number}: {lacking} of its progress was called saved and is not stored")
        if progress > new + told.xp_asked[number]:
            wrong.append(f"invented: player {number} has {progress} progress and asked for {told.xp_asked[number]}")
        return wrong

    def _of_revision(self, told: Told, number: int, contents: Snapshot) -> list[str]:
        revision = int(contents.value(f"{self._kind}:{number}:updated") or b"0")
        before, self._revisions[number] = self._revisions.get(number, 0), revision
        return [f"revisions: player {number} went back from {before} to {revision}"] if revision < before else []
