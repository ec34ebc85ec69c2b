"""The protocol of the two tiers as a model, step by step: a hot store that may lose its last moments, a cold one, and servers.

Every rule of the protocol can be broken alone (`RULES`), and the histories of `test_model.py` have to notice it. What is checked:
gold is conserved, of records and letters together; two servers never own one player; nothing erased comes back; no safe play is
lost; no player begins again; in the end both tiers are equal.
"""

import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

RULES = (
    "a freeze is guarded on what it read",
    "nothing leaves the hot store before the cold one has it",
    "a frozen record leaves a stub",
    "a freeze ships nothing",
    "a thaw is guarded on the stub",
    "a thaw takes only the row of the stub",
    "a row only rises",
    "a cut is one transaction",
    "a server has one cut at a time",
    "a cut has only what no crash can take",
    "a cut waits for what was claimed",
    "a cut waits for the senders of opened letters",
    "letters are in the cut of their commit",
    "an erasure leaves a tombstone",
    "an erasure leaves an intent",
    "a restore is reconciled",
    "a restore replays the erasures",
)
START = 100
WINDOW = 12  # ticks of the clock whose writes a crash of the hot store may take

Step = Generator[None, None, None]
Row = tuple[int, int | None, frozenset[int]]  # revision, gold (None for a tombstone), and the letters that were opened
NOTHING: Row = (0, None, frozenset())


@dataclass
class Landed:
    """One acknowledged write of a server."""

    at: int
    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    letters: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    opened: list[int] = field(default_factory=list[int])
    needs: dict[str, int] = field(default_factory=dict[str, int])


class Model:
    """One history."""

    def __init__(
        self, seed: int, *, broken: str = "", restores: bool = True, erases: bool = False, players: int = 5
    ) -> None:
        self.random = random.Random(seed)
        self.broken, self.restores, self.erases = broken, restores, erases
        self.players = [f"p{at}" for at in range(players)]
        self.hot: dict[str, Any] = {}
        self.past: list[tuple[int, dict[str, Any]]] = []  # the hot store after each of the last steps, with its time
        self.cold: dict[str, Row] = {}
        self.cold_letters: dict[int, tuple[str, int] | None] = {}
        self.clock, self.letters, self.run = 1000, 0, 0
        self.cold_is_up = True
        self.servers = [Server(self, name) for name in "ab"]
        self.work: list[tuple[Server | None, Step]] = []
        self.dead: set[object] = set()
        self.born: set[str] = set()
        self.erased: dict[str, int] = {}
        self.cold_backup: tuple[dict[str, Row], dict[int, tuple[str, int] | None], int] | None = None
        self.stranded: dict[int, int] = {}
        self.denied: dict[str, int] = {}  # frozen players whose row an old cold backup lacks, with their gold
        self.gone = 0  # gold that two disasters in a row have made or destroyed
        self.done = Counter[str]()

    def keeps(self, rule: str) -> bool:
        assert rule in RULES, rule
        return self.broken != rule

    def now(self) -> int:
        self.clock += 1
        return self.clock

    def write(self, guards: dict[str, Any], effects: dict[str, Any]) -> bool:
        """A mini-transaction; None stands for absence."""
        if any(self.hot.get(key) != value for key, value in guards.items()):
            return False
        for key, value in effects.items():
            if value is None:
                self.hot.pop(key, None)
            else:
                self.hot[key] = value
        return True

    def ship(self, rows: dict[str, Row], letters: dict[int, tuple[str, int]], opened: list[int]) -> bool:
        """One transaction of the cold store."""
        if not self.cold_is_up:
            return False
        for key, row in rows.items():
            known = self.cold.get(key)
            if known is None or known[0] < row[0] or not self.keeps("a row only rises"):
                self.cold[key] = row
        for id_, letter in letters.items():
            self.cold_letters.setdefault(id_, letter)
        for id_ in opened:
            self.cold_letters[id_] = None
        return True

    # What both tiers do by themselves.

    def freeze(self, p: str) -> Step:
        updated: Any
        owner, record, updated, inbox = (self.hot.get(f"{p}{x}") for x in ("/own", "", "/upd", "/inbox"))
        yield
        if owner is not None or not isinstance(record, int) or inbox:
            return
        if not self.keeps("a freeze ships nothing"):
            if not self.ship({p: (updated, record, self.ring(p))}, {}, []):
                return
            yield
        if self.keeps("nothing leaves the hot store before the cold one has it"):
            if not self.cold_is_up or self.cold.get(p) != (updated, record, self.ring(p)):
                return
            yield
        guards = {f"{p}/own": None, f"{p}/upd": updated, f"{p}/inbox": None}
        stub = ("stub", updated) if self.keeps("a frozen record leaves a stub") else None
        gone = {f"{p}/upd": None, f"{p}/ring": None}
        if self.write(guards if self.keeps("a freeze is guarded on what it read") else {}, {p: stub, **gone}):
            self.done["frozen"] += 1

    def ring(self, p: str) -> frozenset[int]:
        return self.hot.get(f"{p}/ring") or frozenset()

    def sweep(self) -> Step:
        for key, at in [(key, at) for key, at in self.hot.items() if key.startswith("erase/")]:
            yield from self.finish(key[6:], at)
        run, before, at = self.run, dict(self.hot), self.clock
        while self.clock < at + WINDOW:
            yield
        if run == self.run or not self.keeps("a cut has only what no crash can take"):
            rows: dict[str, Row] = {}
            for p in self.players:
                if isinstance(record := before.get(p), int):
                    rows[p] = (before[f"{p}/upd"], record, before.get(f"{p}/ring") or frozenset())
            letters = {id_: (p, n) for p in self.players for id_, n, *_ in before.get(f"{p}/inbox", ())}
            self.ship(rows, letters, [])

    def erase(self, p: str) -> Step:
        owner, record, updated = (self.hot.get(f"{p}{x}") for x in ("/own", "", "/upd"))
        yield
        if owner is not None or record is None or self.hot.get(f"{p}/inbox"):
            return
        at = self.now()
        intent = {f"erase/{p}": at} if self.keeps("an erasure leaves an intent") else {}
        if not self.write(
            {f"{p}/own": None, p: record, f"{p}/upd": updated}, {p: None, f"{p}/upd": None, f"{p}/ring": None, **intent}
        ):
            return
        self.erased[p] = at
        self.past.clear()  # it is flushed
        yield
        yield from self.finish(p, at)

    def finish(self, p: str, at: int) -> Step:
        if not self.cold_is_up:
            return
        if self.keeps("an erasure leaves a tombstone"):
            known = self.cold.get(p)
            self.cold[p] = (at if known is None else max(at, known[0]), None, frozenset())
        else:
            self.cold.pop(p, None)
        yield
        self.write({f"erase/{p}": at}, {f"erase/{p}": None})

    # What goes wrong.

    def crash_all(self) -> None:
        for server in self.servers:
            server.crash()
        self.work.clear()
        self.run += 1

    def lose_last_moments(self) -> None:
        """The hot store and all servers crash."""
        self.crash_all()
        recent = [hot for at, hot in self.past if at >= self.clock - WINDOW]
        if recent:
            self.hot = dict(self.random.choice(recent))
        self.past.clear()
        self.born = {p for p in self.born if p in self.hot}
        self.done["hot crashes"] += 1

    def lose_hot(self) -> None:
        """The hot store is lost wholly, with all servers; the cold one tells what there was."""
        self.crash_all()
        self.hot.clear()
        self.past.clear()
        self.done["hot losses"] += 1
        self.reconcile()
        self.born = {p for p in self.born if p in self.cold}
        if self.denied:  # whoever was denied is back in an older state
            self.denied.clear()
            self.gone = self.gold() - START * len(self.born)

    def restore_cold(self) -> None:
        """An older backup of the cold store; every frozen player that it lacks is denied, and named."""
        if self.cold_backup is None:
            return
        self.crash_all()
        rows, letters, _ = self.cold_backup
        golds = {
            p: self.cold[p][1] or 0 for p in self.players if isinstance(self.hot.get(p), tuple) and p not in self.denied
        }
        self.cold, self.cold_letters = dict(rows), dict(letters)
        self.reconcile()
        for p, gold in golds.items():
            if isinstance(stub := self.hot.get(p), tuple) and self.cold.get(p, NOTHING)[0] != stub[1]:
                self.denied[p] = gold
        self.done["cold restores"] += 1

    def reconcile(self) -> None:
        for key in [key for key in self.hot if key.endswith("/own")]:
            del self.hot[key]
        if not self.keeps("a restore is reconciled"):
            return
        if self.keeps("a restore replays the erasures"):
            for p, at in self.erased.items():
                if (row := self.cold.get(p)) is not None:
                    self.cold[p] = (max(at, row[0]), None, frozenset())
        for p, (revision, gold, _) in self.cold.items():
            record: Any = self.hot.get(p)
            is_stub = isinstance(record, tuple)
            have: int = 0 if record is None else self.hot[p][1] if is_stub else self.hot[f"{p}/upd"]
            if revision > have:
                for key in (f"{p}/upd", f"{p}/ring", p):
                    self.hot.pop(key, None)
                if gold is not None:
                    self.hot[p] = ("stub", revision)
        self.bring_letters()

    def bring_letters(self) -> None:
        for id_, letter in self.cold_letters.items():
            if letter is not None and letter[0] not in self.hot:
                self.stranded[id_] = letter[1]  # its receiver was made moments ago, and never reached the cold tier
            elif letter is not None and id_ not in self.stranded:
                inbox = self.hot.get(f"{letter[0]}/inbox", ())
                record = self.hot[letter[0]]
                row = self.cold.get(letter[0], NOTHING)
                if isinstance(record, tuple) and row[0] != record[1]:
                    continue  # it is denied
                opened = row[2] if isinstance(record, tuple) else self.ring(letter[0])
                if id_ not in [each[0] for each in inbox] and id_ not in opened:
                    self.hot[f"{letter[0]}/inbox"] = (*inbox, (id_, letter[1], "", 0))

    # The history.

    def play(self, steps: int = 500) -> str:
        """Play one history; the sentence of what went wrong, empty if nothing did."""
        for step in range(steps):
            self.past = [*(each for each in self.past if each[0] >= self.clock - WINDOW), (self.clock, dict(self.hot))]
            self.begin_or_go_on()
            if wrong := self.check():
                return f"step {step}: {wrong}"
        return self.end()

    def begin_or_go_on(self) -> None:
        luck = self.random.random()
        if luck < 0.02:
            self.cold_is_up = not self.cold_is_up
        elif luck < 0.03:
            self.random.choice(self.servers).crash()
        elif luck < 0.036:
            self.lose_last_moments()
        elif luck < 0.042 and self.restores:
            self.lose_hot()
        elif luck < 0.045 and self.restores:
            self.restore_cold()
        elif luck < 0.048:
            self.cold_backup = dict(self.cold), dict(self.cold_letters), self.clock
        elif luck < 0.55 and len(self.work) < 8:
            self.begin()
        elif self.work:
            at = self.random.randrange(len(self.work))
            try:
                next(self.work[at][1])
            except StopIteration:
                self.work.pop(at)
        self.now()

    def begin(self) -> None:
        p, server, luck = self.random.choice(self.players), self.random.choice(self.servers), self.random.random()
        if luck < 0.1:
            self.work.append((None, self.freeze(p)))
        elif luck < 0.12 and self.erases:
            self.work.append((None, self.erase(p)))
        elif luck < 0.15:
            self.work.append((None, self.sweep()))
        elif luck < 0.35:
            self.work.append((server, server.login(p)))
        elif luck < 0.45:
            server.logout()
        elif luck < 0.65:
            server.trade()
        elif luck < 0.73:
            server.send(p)
        elif luck < 0.82:
            server.open_letters()
        else:
            self.work.append((server, server.cut()))

    def end(self) -> str:  # noqa: C901 - an ending reads best in one piece
        """Everything ends well; then both tiers must be equal, and survive each other's loss."""
        self.cold_is_up = True
        for _, work in self.work:
            for _ in work:
                self.now()
        for _ in range(2):
            for server in self.servers:
                while server.sessions:
                    server.logout()
            self.clock += 2 * WINDOW
            self.past.clear()
            for _ in self.sweep():
                self.now()
            for server in self.servers:
                for _ in server.cut():
                    self.now()
        if wrong := self.check():
            return f"at the end: {wrong}"
        if wrong := self.differences():
            return f"at the end: {wrong}"
        self.lose_hot()
        return (wrong := self.check()) and f"after the loss of all: {wrong}"

    def differences(self) -> str:
        """What both tiers have in different states, once everything is quiet."""
        for p in self.players:
            record = self.hot.get(p)
            if isinstance(record, int) and self.cold.get(p) != (self.hot[f"{p}/upd"], record, self.ring(p)):
                return f"{p} is {record} in the hot tier, and {self.cold.get(p)} in the cold one"
            if record is None and p not in self.erased and self.cold.get(p, NOTHING)[1] is not None:
                return f"{p} is in the cold tier alone"
            if p in self.erased and self.cold.get(p, NOTHING)[1] is not None:
                return f"{p} was erased, and is in the cold tier"
        return ""

    def gold(self) -> int:
        total = 0
        for p in self.players:
            record = self.hot.get(p)
            if p in self.denied and isinstance(record, tuple):
                total += self.denied[p]
            elif isinstance(record, tuple):
                total += self.cold.get(p, (0, 0, 0))[1] or 0
            elif record is not None:
                live = [server.sessions[p] for server in self.servers if server.owns(p)]
                total += live[0].gold if live else record
            total += sum(letter[1] for letter in self.hot.get(f"{p}/inbox", ()))
        return total + sum(self.stranded.values())

    def check(self) -> str:
        owners = Counter(p for server in self.servers for p in server.sessions if server.owns(p))
        if owners and max(owners.values()) > 1:
            return "two servers own one player"
        for p in self.erased:
            if p in self.hot:
                return f"{p} was erased, and is back"
        for p in self.born - set(self.erased):
            record = self.hot.get(p)
            if record is None:
                return f"{p} is gone"
            row = self.cold.get(p)
            if (
                isinstance(record, tuple)
                and p not in self.denied
                and (row is None or row[0] != record[1] or row[1] is None)
            ):
                return f"{p} is frozen at {record[1]}, and the cold tier has {row}"
        should = START * len(self.born) + self.gone
        if not self.erased and self.gold() != should:
            return f"the gold is {self.gold()}, not {should}"
        return ""


@dataclass
class Session:
    """A live player."""

    own: object
    revision: int
    gold: int


class Server:
    """One server: its sessions, and what it has to ship."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name, self.life = model, name, 0
        self.sessions: dict[str, Session] = {}
        self.fresh: list[Landed] = []
        self.cutting = False

    def owns(self, p: str) -> bool:
        session = self.sessions.get(p)
        return session is not None and self.model.hot.get(f"{p}/own") == session.own

    def crash(self) -> None:
        self.life += 1
        self.model.dead |= {session.own for session in self.sessions.values()}
        self.sessions, self.fresh, self.cutting = {}, [], False
        self.model.work = [(server, work) for server, work in self.model.work if server is not self]

    def land(self, landed: Landed) -> None:
        landed.at = self.model.clock
        self.fresh.append(landed)

    def login(self, p: str) -> Step:  # noqa: C901 - a claim reads best in one piece
        model = self.model
        updated: Any
        owner, record, updated = (model.hot.get(f"{p}{x}") for x in ("/own", "", "/upd"))
        run = model.run
        yield
        if self.may_not_have(p, owner):
            return
        at = model.clock
        while model.clock < at + WINDOW:  # no server builds on another's write before that is safe
            yield
        if run != model.run:
            return
        token = (self.name, self.life, model.now())
        revision: int
        gold: int
        guards: dict[str, Any] = {f"{p}/own": owner, f"{p}/upd": updated, p: record}
        effects: dict[str, Any] = {f"{p}/own": token}
        landed = Landed(0)
        if record is None:
            if p in model.born and model.keeps("a frozen record leaves a stub"):
                return
            revision, gold = model.now(), START
            landed.rows[p] = (revision, gold, frozenset())
        elif isinstance(record, tuple):
            if not model.cold_is_up:
                return
            row = model.cold.get(p, NOTHING)
            yield
            if row[1] is None or (row[0] != record[1] and model.keeps("a thaw takes only the row of the stub")):
                return
            revision, gold = row[0], row[1]
            effects[f"{p}/ring"] = row[2]
            if not model.keeps("a thaw is guarded on the stub"):
                guards = {}
            model.done["thawed"] += 1
        else:
            revision, gold = updated, record
            landed.needs[p] = revision
        effects |= {p: gold, f"{p}/upd": revision}
        if not model.write(guards, effects):
            return
        model.born.add(p)
        self.sessions[p] = Session(token, revision, gold)
        self.land(landed)

    def may_not_have(self, p: str, owner: object) -> bool:
        """It plays here, or another server has it, or it is erased."""
        model = self.model
        return p in self.sessions or (owner is not None and owner not in model.dead) or p in model.erased

    def save(
        self, changed: dict[str, int], effects: dict[str, Any] | None = None, landed: Landed | None = None
    ) -> bool:
        """A commit, or a release: guarded on owner and revision of each player."""
        model = self.model
        guards: dict[str, Any] = {}
        puts: dict[str, Any] = {}
        landed = landed or Landed(0)
        for p, gold in changed.items():
            session = self.sessions[p]
            revision = model.now()
            guards |= {f"{p}/own": session.own, f"{p}/upd": session.revision}
            puts |= {p: gold, f"{p}/upd": revision}
            ring = model.ring(p) | set(landed.opened)
            puts[f"{p}/ring"] = ring or None
            landed.rows[p] = (revision, gold, ring)
        if not model.write(guards, {**puts, **(effects or {})}):
            for p in changed:
                if not self.owns(p):
                    del self.sessions[p]
            return False
        for p, gold in changed.items():
            self.sessions[p].revision, self.sessions[p].gold = landed.rows[p][0], gold
        self.land(landed)
        return True

    def logout(self) -> None:
        if self.sessions:
            p = self.model.random.choice(sorted(self.sessions))
            self.save({p: self.sessions[p].gold}, {f"{p}/own": None})
            self.sessions.pop(p, None)

    def trade(self) -> None:
        if len(self.sessions) > 1:
            giver, taker = self.model.random.sample(sorted(self.sessions), 2)
            amount = self.model.random.randrange(10)
            self.save({giver: self.sessions[giver].gold - amount, taker: self.sessions[taker].gold + amount})

    def send(self, receiver: str) -> None:
        """A letter with gold, to a player on any server."""
        model = self.model
        if not self.sessions or receiver not in model.hot:
            return
        sender = model.random.choice(sorted(self.sessions))
        model.letters += 1
        sent, inbox = model.now(), model.hot.get(f"{receiver}/inbox", ())
        letter = (model.letters, 7, sender, sent)
        landed = Landed(
            0, letters={model.letters: (receiver, 7)} if model.keeps("letters are in the cut of their commit") else {}
        )
        self.save({sender: self.sessions[sender].gold - 7}, {f"{receiver}/inbox": (*inbox, letter)}, landed)

    def open_letters(self) -> None:
        model = self.model
        waiting = [p for p in sorted(self.sessions) if model.hot.get(f"{p}/inbox") and self.owns(p)]
        if not waiting:
            return
        p = model.random.choice(waiting)
        letters = model.hot[f"{p}/inbox"]
        landed = Landed(0, opened=[letter[0] for letter in letters])
        if model.keeps("a cut waits for the senders of opened letters"):
            landed.needs = {sender: sent for _, _, sender, sent in letters if sender}
        self.save({p: self.sessions[p].gold + sum(letter[1] for letter in letters)}, {f"{p}/inbox": None}, landed)

    def cut(self) -> Step:
        model = self.model
        if self.cutting and model.keeps("a server has one cut at a time"):
            return
        self.cutting, life = True, self.life
        safe = model.clock - WINDOW if model.keeps("a cut has only what no crash can take") else model.clock
        rows: dict[str, Row] = {}
        letters: dict[int, tuple[str, int]] = {}
        opened: list[int] = []
        taken = [landed for landed in self.fresh if landed.at <= safe]
        for landed in taken:
            for p, revision in landed.needs.items():
                here = rows.get(p, NOTHING)[0] >= revision or not model.keeps("a cut waits for what was claimed")
                if not here and (not model.cold_is_up or model.cold.get(p, NOTHING)[0] < revision):
                    self.cutting = False
                    model.done["held back"] += 1
                    return
            rows |= landed.rows
            letters |= landed.letters
            opened += landed.opened
        if not model.keeps("a server has one cut at a time"):
            self.fresh = [landed for landed in self.fresh if landed not in taken]
        yield
        parts = [rows] if model.keeps("a cut is one transaction") else [{p: row} for p, row in rows.items()]
        shipped = True
        for part in parts:
            shipped = model.ship(part, letters, opened) and shipped
            yield
        if life == self.life:
            self.cutting = False
            if shipped:
                self.fresh = [landed for landed in self.fresh if all(landed is not each for each in taken)]
            elif not model.keeps("a server has one cut at a time"):
                self.fresh = [*taken, *self.fresh]
