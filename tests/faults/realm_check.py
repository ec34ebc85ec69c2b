"""What a real store must hold after what clients were told: read past every line of keeping, and judged by the model."""

from pathlib import Path
from typing import Any, cast

import psycopg
import redis

from faults.realm_crowd import Told
from realmkeep.records import load
from simulation.game import Chest, Hero


class Snapshot:
    """Everything in a store at one moment."""

    def __init__(self, path: Path, heroes: int) -> None:
        keys, inboxes = _keys_of(heroes)
        client = cast("Any", redis.Redis(unix_socket_path=str(path)))  # the driver's types are partial
        with client, client.pipeline(transaction=True) as pipe:
            pipe.mget(keys)
            for inbox in inboxes:
                pipe.lrange(inbox, 0, -1)
            values, *lists = pipe.execute()
        self._values: dict[str, bytes | None] = dict(zip(keys, values, strict=True))
        self._lists: dict[str, list[bytes]] = dict(zip(inboxes, lists, strict=True))

    def value(self, key: str) -> bytes | None:
        return self._values[key]

    def entries(self, key: str) -> list[bytes]:
        return self._lists[key]

    def heroes(self) -> dict[int, Hero]:
        """By number."""
        found = {key: blob for key, blob in self._values.items() if key.count(":") == 1 and key.startswith("sim-hero:")}
        return {int(key[9:]): load(blob, Hero).require() for key, blob in found.items() if blob is not None}

    def deposits(self) -> list[str]:
        """What the chest says was put into it, as `hero/operation`."""
        blob = self._values["sim-chest:0"]
        return load(blob, Chest).require().applied if blob is not None else []


class PostgresSnapshot(Snapshot):
    """Everything in a Postgres at one moment."""

    def __init__(self, url: str, heroes: int) -> None:
        keys, inboxes = _keys_of(heroes)
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            query = "SELECT key, value FROM realmkeep_entry WHERE key = ANY (%s)"
            self._values = dict.fromkeys(keys) | dict(connection.execute(query, [keys]).fetchall())
            query = "SELECT key, value FROM realmkeep_list WHERE key = ANY (%s) ORDER BY key, position"
            self._lists = {inbox: [] for inbox in inboxes}
            for inbox, letter in connection.execute(query, [inboxes]).fetchall():
                self._lists[inbox].append(letter)


def _keys_of(heroes: int) -> tuple[list[str], list[str]]:
    """The keys with values, and those with lists."""
    keys = [f"sim-hero:{number}{part}" for number in range(heroes) for part in ("", ":updated", ":owner", ":ops")]
    keys += ["sim-chest:0", "sim-chest:0:updated"]
    return keys, [f"sim-hero:{number}:{which}" for number in range(heroes) for which in ("inbox", "kept")]


def violations(told: Told, snapshot: Snapshot, *, settled: bool = False) -> list[str]:
    """What is wrong.

    Args:
        told: What any client was told before the snapshot was taken.
        snapshot: The store.
        settled: Nothing is under way any more.
    """
    told.model.check(snapshot, settled=settled)
    for number, xp in told.xp.items():
        told.model.check_tier_2(snapshot, number, xp)
    wrong = [*told.model.violations]
    heroes, deposits = snapshot.heroes(), set(snapshot.deposits())
    for number, hero in heroes.items():
        if hero.deaths < told.deaths[number]:
            wrong.append(f"hero {number}: {told.deaths[number] - hero.deaths} deaths that were settled are lost")
        if hero.xp > told.xp_asked[number]:
            wrong.append(f"hero {number} has {hero.xp} xp and asked for {told.xp_asked[number]}")
        if done := told.refused[number].intersection(hero.applied):
            wrong.append(f"hero {number}: operations that were refused are applied: {sorted(done)}")
        if lost := {f"{number}/{op}" for op in told.deposited[number]} - deposits:
            wrong.append(f"hero {number}: the chest lacks {sorted(lost)}")
        if b'"target"' in (snapshot.value(f"sim-hero:{number}") or b""):
            wrong.append(f"hero {number}: an ephemeral field is stored")
    swords = sorted(sword.serial for hero in heroes.values() for sword in hero.swords)
    if swords != (given := [number for number in heroes if number % 2]):
        wrong.append(f"the swords are {swords} instead of {given}")
    return wrong
