"""What a real store must hold after what clients were told."""

from realmkeep.drill.bots.told import Promise, Told
from realmkeep.drill.checks.contents import Keys, Snapshot, keys_of
from realmkeep.drill.checks.model import Contents, came_back, unopened
from realmkeep.drill.game import Chest, Hero
from realmkeep.errors import RecordError
from realmkeep.records import load


def hero_keys(heroes: int) -> Keys:
    """Return all keys of the drill's own game."""
    keys, chest = keys_of("sim-hero", heroes), keys_of("sim-chest", 1)
    return Keys([*keys.values, *chest.values], [*keys.lists, *chest.lists])


def heroes_of(contents: Contents, heroes: int) -> dict[int, Hero]:
    """Return the stored heroes that can be read, by number."""
    found: dict[int, Hero] = {}
    for number in range(heroes):
        blob = contents.value(f"sim-hero:{number}")
        try:
            if blob is not None:
                found[number] = load(blob, Hero).require()
        except RecordError:  # `Model.check` reports it
            continue
    return found


def token_of(owner: bytes | None) -> float:
    """Return the fencing token of an owner's value; 0 without an owner."""
    return float((owner or b"//0").rpartition(b"/")[2])


def violations(told: Told, contents: Snapshot, *, settled: bool = False) -> list[str]:
    """Return what is wrong, each sentence with the name of its check first.

    Args:
        told: What any client was told before the store was read.
        contents: The store.
        settled: Nothing is under way any more.
    """
    told.model.check(contents, settled=settled)
    heroes = heroes_of(contents, told.model.heroes)
    wrong = [*told.model.violations, *told.defects, *told.window.violations]
    for number, hero in heroes.items():
        wrong += _of_hero(told, contents, number, hero)
    wrong += [f"durable: hero {number} is gone" for number in told.xp if told.xp[number] and number not in heroes]
    wrong += _halves(told, heroes)
    wrong += _deposits(told, contents)
    swords = sorted(sword.serial for hero in heroes.values() for sword in hero.swords)
    if swords != (given := [number for number in heroes if number % 2]):
        wrong.append(f"conserved: the swords are {swords} instead of {given}")
    return wrong


def forgive(told: Told, contents: Contents, *, loss_s: float) -> float:
    """Take back what a store that syncs late has lost with the power; return the age of the oldest loss in seconds.

    Args:
        told: The answers; those up to `loss_s` before the last loss of power may be gone.
        contents: The store after it.
        loss_s: The seconds that the store may lose.
    """
    heroes = heroes_of(contents, told.model.heroes)
    back = came_back(contents, told.model.heroes)
    blob = contents.value("sim-chest:0")
    deposits = set[str]() if blob is None else set(load(blob, Chest).require().applied)
    waiting = {number: unopened(contents, f"sim-hero:{number}") for number in range(told.model.heroes)}

    def kept(promise: Promise) -> bool:
        hero = heroes.get(promise.who)
        if promise.kind == "letter":
            here = {letter["letter"] for letter in waiting[promise.who]} | {*(hero.letters if hero else ())}
            return promise.number in here | back
        if hero is None:
            return False
        if promise.kind == "death":
            return hero.deaths >= promise.number
        return promise.number in hero.applied if promise.kind == "op" else f"{promise.who}/{promise.number}" in deposits

    return told.forgive(kept, loss_s)


def _of_hero(told: Told, contents: Snapshot, number: int, hero: Hero) -> list[str]:
    wrong: list[str] = []
    if hero.xp < told.xp[number]:
        wrong.append(f"durable: hero {number}: {told.xp[number] - hero.xp} xp that were called saved are not stored")
    if hero.deaths < told.deaths[number]:
        wrong.append(f"durable: hero {number}: {told.deaths[number] - hero.deaths} deaths that were settled are lost")
    if hero.xp > told.xp_asked[number]:
        wrong.append(f"invented: hero {number} has {hero.xp} xp and asked for {told.xp_asked[number]}")
    if done := told.refused[number].intersection(hero.applied):
        wrong.append(f"invented: hero {number}: operations that were refused are applied: {sorted(done)}")
    if b'"target"' in (contents.value(f"sim-hero:{number}") or b""):
        wrong.append(f"invented: hero {number}: an ephemeral field is stored")
    claimed = token_of(contents.value(f"sim-hero:{number}:owner"))
    if claimed and hero.x > claimed:
        wrong.append(f"owner: hero {number} was written under the claim {hero.x:.0f}; its owner has {claimed:.0f}")
    revision = contents.value(f"sim-hero:{number}:updated") or b""
    before = told.owned.get(number, (0.0, b""))
    told.owned[number] = claimed, revision
    if claimed and claimed == before[0] and revision != before[1] and hero.x != claimed:
        wrong.append(f"owner: hero {number} was written under {hero.x:.0f} while its owner had {claimed:.0f}")
    if hero.x < told.claims[number]:
        wrong.append(f"owner: hero {number} was written under {hero.x:.0f}, after the claim {told.claims[number]:.0f}")
    told.claims[number] = max(told.claims[number], hero.x)
    return wrong


def _halves(told: Told, heroes: dict[int, Hero]) -> list[str]:
    """Return the trades that one of two stored heroes has and the other lacks."""
    applied = {number: set(hero.applied) for number, hero in heroes.items()}
    return [
        f"atomic: half a trade: hero {giver} operation {gave}, hero {taker} operation {took}"
        for giver, taker, gave, took in sorted(told.trades)
        if giver in applied and taker in applied and (gave in applied[giver]) is not (took in applied[taker])
    ]


def _deposits(told: Told, contents: Snapshot) -> list[str]:
    blob = contents.value("sim-chest:0")
    try:
        deposits = set[str]() if blob is None else set(load(blob, Chest).require().applied)
    except RecordError:  # `Model.check` reports it
        return []
    wrong: list[str] = []
    for number, ops in told.deposited.items():
        if lost := {f"{number}/{op}" for op in ops} - deposits:
            wrong.append(f"atomic: hero {number}: the chest lacks {sorted(lost)}")
    return wrong
