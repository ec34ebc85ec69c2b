"""The economy of commits: nothing is made or destroyed that the commit does not declare, and no item exists twice."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from realmkeep.callables import name_of
from realmkeep.errors import Misuse, NotConserved
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.records import held_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.clock import Clock
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.records import Held, RecordInfo

log = logging.getLogger("realmkeep.economy")

REASON_CHARS_MAX: Final = 400
TOLD_MAX: Final = 8  # differences in a message
PRUNE_EVERY: Final = 100_000  # serials that were noted since the last look for sessions that are over


class Minted(NamedTuple):
    """Something that a commit makes, or destroys if the amount is negative.

    Attributes:
        name: A conserved thing; empty for an item.
        amount: How much; 1 or -1 of an item.
        reason: Why.
        serial: The item's; 0 for a conserved thing.
    """

    name: str
    amount: int
    reason: str
    serial: int = 0


class Flows:
    """What enters and leaves the records of a commit beside their changes.

    Attributes:
        amounts: Of each conserved thing, the amount that is in letters and new records after the commit, less that of letters opened.
        serials: Of each serial likewise.
        minted: What the commit declares to make or destroy.
        adjusted: The reason for which everything that does not add up is made or destroyed; empty for none.
    """

    __slots__ = ("adjusted", "amounts", "minted", "serials")

    def __init__(self) -> None:
        self.amounts: Counter[str] = Counter()
        self.serials: Counter[int] = Counter()
        self.minted: list[Minted] = []
        self.adjusted = ""

    def add(self, info: RecordInfo, thing: Any, sign: int = 1) -> None:
        """Count a letter or a new record."""
        self.add_held(held_by(info, thing), sign)

    def add_held(self, held: Held | None, sign: int) -> None:
        """Count what a record or a letter holds."""
        if held is not None:
            for name, amount in held.amounts.items():
                self.amounts[name] += sign * amount
            for serial in held.serials:
                self.serials[serial] += sign


class Balance(NamedTuple):
    """The economy of a commit, for its entry in the journal.

    Attributes:
        minted: What it declared to make or destroy, and what was adjusted.
        unbalanced: What was made (or destroyed: negative) without a declaration, by name or `serial 7`.
        doubled: Serials that exist twice after it.
    """

    minted: tuple[Minted, ...]
    unbalanced: dict[str, int]
    doubled: tuple[int, ...]


BALANCED: Final = Balance((), {}, ())


class Economy:
    """Checks the commits of one keeper.

    Args:
        sessions: The live sessions.
        counters: Counts what does not add up.
        clock: The clock.
        strict: Refuse a commit that does not add up.
    """

    def __init__(self, sessions: SessionRegistry, counters: Counters, clock: Clock, *, strict: bool) -> None:
        self._sessions = sessions
        self._counters = counters
        self._strict = strict
        self._log = RateLimitedLog(clock)
        self._holders: dict[int, str] = {}
        self._noted = 0

    def before(self, sessions: Sequence[Session[Any]]) -> list[Held | None] | None:
        """What the records hold before the function runs; None if no class declares anything."""
        held = [held_by(session.record.__realmkeep__, session.record) for session in sessions]
        return held if any(each is not None for each in held) else None

    def after(
        self, fn: object, sessions: Sequence[Session[Any]], before: Sequence[Held | None] | None, flows: Flows | None
    ) -> Balance:
        """Compare with what they hold now.

        Raises:
            NotConserved: In strict mode, the commit does not add up, or leaves an item twice.
        """
        if before is None and flows is None:
            return BALANCED
        after = [held_by(session.record.__realmkeep__, session.record) for session in sessions]
        minted = () if flows is None else tuple(flows.minted)
        unbalanced = _unbalanced(before or (), after, flows)
        if flows is not None and flows.adjusted and unbalanced:
            minted += tuple(_adjustment(name, amount, flows.adjusted) for name, amount in unbalanced.items())
            unbalanced = {}
        doubled = self._doubled(sessions, after)
        if unbalanced or doubled:
            self._report(fn, sessions, unbalanced, doubled)
        return Balance(minted, unbalanced, doubled)

    def note(self, session: Session[Any]) -> None:
        """Note the items of a session that begins; an item that another live record has is reported."""
        try:
            held = held_by(session.record.__realmkeep__, session.record)
        except Exception:
            self._counters.hook_failures += 1
            log.exception("the items of %s cannot be listed", session.keys.record)
            return
        if held is not None and held.serials and (doubled := self._doubled((session,), (held,))):
            self._tell("the login of %s shows serials that exist twice: %s", session.keys.record, doubled)
            self._counters.doubled_serials += len(doubled)

    def _doubled(self, sessions: Sequence[Session[Any]], after: Sequence[Held | None]) -> tuple[int, ...]:
        times: Counter[int] = Counter()
        here = {session.keys.record for session in sessions}
        found: set[int] = set()
        for session, held in zip(sessions, after, strict=True):
            key = session.keys.record
            for serial in held.serials if held is not None else ():
                times[serial] += 1
                holder = self._holders.get(serial)
                if holder == key:
                    continue
                if holder is not None and holder not in here and self._has(holder, serial):
                    found.add(serial)
                    continue
                self._holders[serial] = key
                self._noted += 1
        if self._noted >= PRUNE_EVERY:
            self._prune()
        return tuple(sorted(found | {serial for serial, count in times.items() if count > 1}))

    def _has(self, key: str, serial: int) -> bool:
        session = self._sessions.get(key)
        held = None if session is None else held_by(session.record.__realmkeep__, session.record)
        return held is not None and serial in held.serials

    def _prune(self) -> None:
        self._noted = 0
        self._holders = {serial: key for serial, key in self._holders.items() if key in self._sessions}

    def _report(
        self, fn: object, sessions: Sequence[Session[Any]], unbalanced: dict[str, int], doubled: tuple[int, ...]
    ) -> None:
        said = ", ".join(f"{name} {amount:+}" for name, amount in [*unbalanced.items()][:TOLD_MAX])
        twice = ", ".join(f"serial {serial} exists twice" for serial in doubled[:TOLD_MAX])
        records = ", ".join(session.keys.record for session in sessions)
        told = "; ".join(each for each in (said, twice) if each)
        if self._strict:
            raise NotConserved(
                f"the commit {name_of(fn)} of {records} does not add up: {told}",
                hint="declare it inside the commit: keeper.tx.mint, burn, mint_serial or burn_serial, with a reason",
            )
        self._counters.unbalanced_commits += bool(unbalanced)
        self._counters.doubled_serials += len(doubled)
        self._tell("the commit %s of %s does not add up: %s", name_of(fn), records, told)

    def _tell(self, message: str, *args: object) -> None:
        self._log.say(log.error, message, *args)


def _unbalanced(before: Sequence[Held | None], after: Sequence[Held | None], flows: Flows | None) -> dict[str, int]:
    left = Flows()
    for held in before:
        left.add_held(held, -1)
    for held in after:
        left.add_held(held, 1)
    if flows is not None:
        left.amounts.update(flows.amounts)
        left.serials.update(flows.serials)
        for each in flows.minted:
            if each.serial:
                left.serials[each.serial] -= each.amount
            else:
                left.amounts[each.name] -= each.amount
    found = {name: amount for name, amount in left.amounts.items() if amount}
    return found | {f"serial {serial}": count for serial, count in left.serials.items() if count}


def _adjustment(name: str, amount: int, reason: str) -> Minted:
    serial = name.removeprefix("serial ")
    return Minted("", amount, reason, int(serial)) if serial != name else Minted(name, amount, reason)


class EconomyTx:
    """The part of `keeper.tx` that declares what a commit makes and destroys."""

    __slots__ = ("_open", "flows", "reason")

    def __init__(self) -> None:
        self._open = True
        self.reason = ""
        self.flows: Flows | None = None  # made when it is needed: most transactions have none

    def explain(self, reason: str) -> None:
        """Give the commit a reason, for its entry in the journal; a second one replaces the first.

        Args:
            reason: One line of at most 400 characters.

        Raises:
            Misuse: It is longer, or no printable text; or the commit is over.
        """
        self.reason = self._checked(reason)

    def mint(self, name: str, amount: int, reason: str) -> None:
        """Declare that this commit makes some of a conserved thing: a reward, a sale to a shop.

        Args:
            name: The thing, as in `Player.conserved("gold")`.
            amount: From 0.
            reason: One line of at most 400 characters; the audit sums up by it, so let it have few values.

        Raises:
            Misuse: An argument is out of range, or the commit is over.
        """
        self._declare(Minted(name, _amount(amount), self._checked(reason)))

    def burn(self, name: str, amount: int, reason: str) -> None:
        """Declare that this commit destroys some of a conserved thing: a purchase from a shop, a fee.

        Args:
            name: As for `mint`, as are `amount` and `reason`.
            amount: From 0.
            reason: As above.

        Raises:
            Misuse: An argument is out of range, or the commit is over.
        """
        self._declare(Minted(name, -_amount(amount), self._checked(reason)))

    def mint_serial(self, serial: int, reason: str) -> None:
        """Declare that this commit makes the item with a serial.

        Args:
            serial: From 1.
            reason: As for `mint`.

        Raises:
            Misuse: An argument is out of range, or the commit is over.
        """
        self._declare(Minted("", 1, self._checked(reason), _serial(serial)))

    def burn_serial(self, serial: int, reason: str) -> None:
        """Declare that this commit destroys the item with a serial.

        Args:
            serial: From 1.
            reason: As for `mint`.

        Raises:
            Misuse: An argument is out of range, or the commit is over.
        """
        self._declare(Minted("", -1, self._checked(reason), _serial(serial)))

    def adjust(self, reason: str) -> None:
        """Declare that everything that does not add up is made or destroyed for this reason: an operator's edit.

        Args:
            reason: As for `mint`.

        Raises:
            Misuse: The reason is out of range, or the commit is over.
        """
        flows = self._flows_of_it()
        flows.adjusted = self._checked(reason) or "adjusted"

    def count(self, info: RecordInfo, thing: Any, sign: int = 1) -> None:
        """Count a letter that leaves or a record that is made; with -1, a letter that is opened. For keeping alone."""
        if info.conserved or info.serials:
            self._flows_of_it().add(info, thing, sign)

    def _declare(self, minted: Minted) -> None:
        self._flows_of_it().minted.append(minted)

    def _flows_of_it(self) -> Flows:
        if self.flows is None:
            self.flows = Flows()
        return self.flows

    def _checked(self, reason: str) -> str:
        """Check a reason, and that the commit is not over.

        Raises:
            Misuse: It is no printable line of at most 400 characters; or the commit is over.
        """
        self._check_open()
        if not isinstance(reason, str) or len(reason) > REASON_CHARS_MAX or not reason.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise Misuse(
                f"the reason of a commit is {reason!r:.80}",
                hint=f"pass one line of at most {REASON_CHARS_MAX} characters",
            )
        return reason

    def _check_open(self) -> None:
        if not self._open:
            raise Misuse(
                "this transaction is over", hint="ask keeper.tx anew in each commit's function; keep it nowhere"
            )


def _amount(amount: int) -> int:
    if type(amount) is not int or amount < 0:
        raise Misuse(f"an amount of {amount!r:.40} is made or destroyed", hint="pass a whole number from 0")
    return amount


def _serial(serial: int) -> int:
    if type(serial) is not int or serial < 1:
        raise Misuse(f"an item with the serial {serial!r:.40}", hint="pass its number, from 1")
    return serial
