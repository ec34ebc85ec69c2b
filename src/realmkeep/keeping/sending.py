"""A letter that no record sends: a tool's, an operator's. Durable when the call returns, and sent once however often it is tried."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import Misuse, OpReused, OutcomeUnknown, RealmkeepError, StorageError
from realmkeep.keeping.live.envelope import sent_by
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.live.sealing import seal
from realmkeep.keeping.writing.receivers import Post, inbox_full, unmet
from realmkeep.storage import Append, Committed, Failed, Guard, Put, Refused, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.live.session import Session
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Record

SENT_KEEP_S: Final = 7 * 24 * 3600.0  # an operation that is repeated later is a new one
OP_ID_CHARS_MAX: Final = 200
AGAIN_S: Final = 0.2  # after the store did not answer


class Letters:
    """Letters that no record sends, and the room in inboxes: `keeper.letters`. A commit sends by `keeper.tx.deliver`.

    Args:
        open_engine: Gives the inside of the keeper, or raises `ShuttingDown`.
    """

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine

    async def check_room(self, sender: Session[Any], cls: type[Record], id: int | str) -> None:  # noqa: A002 - as below
        """Look whether a letter of this sender would find room, so that one player alone fills no inbox.

        Call it before a commit with a letter that a player wanted. The bound of the whole inbox holds in any case, as the store
        looks in the commit; that of one sender holds but for what the sender has under way meanwhile.

        Args:
            sender: Whose letter it is to be.
            cls: The class of the receiver.
            id: Its id.

        Raises:
            InboxFull: `keeper.inbox_letters_max` letters wait there, or `keeper.inbox_letters_per_sender_max` of this sender.
            InvalidKey: The id is malformed.
            StorageError: The store cannot be reached.
            ShuttingDown: The keeper is closing.
        """
        await _check_room(self._open_engine(), sender.keys.record, keys_of(cls, id))

    async def send(
        self,
        cls: type[Record],
        id: int | str,  # noqa: A002 - the field's own name
        letter: object,
        *,
        op_id: str | None = None,
        expires_s: float | None = None,
    ) -> None:
        """Send a letter that no record pays for, from a tool or an operator; it is durable on return, also on `everysec`.

        Args:
            cls: The class of the receiver, wherever it is; it must exist.
            id: Its id.
            letter: As for `keeper.tx.deliver`; it has no sender to return to.
            op_id: Names the operation, such as `maintenance 2031-05-04, player 7`: within a week it is sent once, however often
                the call is repeated, from any server. The call makes one without it, which an `OutcomeUnknown` names.
            expires_s: As for `keeper.tx.deliver`.

        Raises:
            InvalidKey, Misuse, DefinitionError: As `keeper.tx.deliver`; or `op_id` is no name.
            NoSuchReceiver, InboxFull: It was not sent.
            OpReused: `op_id` has sent another letter.
            OutcomeUnknown: The store has not said within `keeper.pending_after_s`; repeat the call with the `op_id`.
            StorageError: It was not sent.
            ShuttingDown: The keeper is closing.
        """
        await _send(self._open_engine(), keys_of(cls, id), letter, op_id=op_id, expires_s=expires_s)


async def _check_room(engine: Engine, sender: str, receiver: RecordKeys) -> None:
    letters_max, of_sender_max = engine.config.inbox_letters_max, engine.config.inbox_letters_per_sender_max
    waiting = await engine.storage.load_list(receiver.inbox, count=letters_max)
    if len(waiting) >= letters_max or sum(sent_by(stored) == sender for stored in waiting) >= of_sender_max:
        raise inbox_full(receiver.record)


async def _send(
    engine: Engine, receiver: RecordKeys, letter: object, *, op_id: str | None, expires_s: float | None
) -> None:
    """As `Letters.send`.

    The mark of the operation is written with the letter and guards it, so that of all attempts, also those that arrive late,
    one happens; and it tells what became of one whose answer was lost.

    Raises:
        RealmkeepError: As there.
    """
    op_id = secrets.token_hex(8) if op_id is None else _checked(op_id)
    sealed = seal(letter, sender="", now_us=engine.clock.wall_us(), expires_s=expires_s)
    mark, request = keys.sent(_digest(op_id.encode())), _request(receiver, letter)
    post = Post(engine.config.inbox_letters_max)
    post.add(receiver)
    effects = [Put(mark, request, expire_s=SENT_KEEP_S), Append(receiver.inbox, sealed)]
    attempt = _Attempt(engine, Transaction([Guard(mark, None)], effects, tuple(post.needs())), op_id, request)
    until_s = engine.clock.monotonic_s() + engine.config.pending_after_s
    while not await attempt.happened():
        if engine.clock.monotonic_s() >= until_s:
            raise attempt.gave_up()
        await engine.clock.sleep(AGAIN_S)
    engine.inboxes.delivered([receiver])


class _Attempt:
    """One letter on its way, and what is known of it."""

    def __init__(self, engine: Engine, transaction: Transaction, op_id: str, request: bytes) -> None:
        self._engine = engine
        self._transaction = transaction
        self._op_id = op_id
        self._request = request
        self._maybe = False
        self._error: StorageError | None = None

    async def happened(self) -> bool:
        """Send it; True if it is in the inbox, for good. False: the store did not say so, try again.

        Raises:
            NoSuchReceiver, InboxFull, OpReused: It did not happen.
            OutcomeUnknown: It did not happen now; an earlier attempt may still arrive.
            StorageError: The store will not take it.
        """
        storage, barrier = self._engine.storage, self._engine.barrier
        try:
            await barrier.wait_until_passed()
            run = barrier.passed_run
            (outcome,) = await storage.write([self._transaction])
            if isinstance(outcome, Refused):
                self._look_why(outcome)
            elif not isinstance(outcome, Committed):
                self._maybe |= not isinstance(outcome, Failed)
                raise outcome.error
            self._maybe = True  # until it is safe a crash of the store may take it
            return await self._engine.safe_point.reached(run)
        except StorageError as error:
            if not error.retryable:
                raise
            self._error = error
            return False

    def _look_why(self, outcome: Refused) -> None:
        refusal = unmet(outcome)
        if refusal is None and outcome.found != self._request:
            refusal = OpReused(
                f"the operation {self._op_id!r} sent another letter", hint="use a new op_id for this one"
            )
        if refusal is not None:
            raise self._unknown(refusal) if self._maybe else refusal

    def gave_up(self) -> RealmkeepError:
        """What the caller hears."""
        error = self._error or OutcomeUnknown("the store was restarted again and again", hint="look at the store")
        return self._unknown(error) if self._maybe else error

    def _unknown(self, why: RealmkeepError) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"the letter {self._op_id!r} may have been sent: {why.message}",
            hint=f"send it again with op_id={self._op_id!r}: it arrives once, within a week",
        )


def _checked(op_id: Any) -> str:
    if not isinstance(op_id, str) or not 0 < len(op_id) <= OP_ID_CHARS_MAX or not op_id.isprintable():
        raise Misuse(
            f"op_id {op_id!r:.80} does not name an operation", hint=f"pass 1 to {OP_ID_CHARS_MAX} printable characters"
        )
    return op_id


def _request(receiver: RecordKeys, letter: object) -> bytes:
    """What tells this letter from another one under the same id: two dictionaries in another order are one letter."""
    said = msgspec.json.encode([receiver.record, type(letter).__qualname__, letter], order="deterministic")
    return _digest(said).encode()


def _digest(said: bytes) -> str:
    return hashlib.blake2b(said, digest_size=16).hexdigest()
