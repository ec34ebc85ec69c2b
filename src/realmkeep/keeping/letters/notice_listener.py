"""Reads notices of letters, and requests for records, that other servers and operators left for sessions that are live here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from realmkeep import keys
from realmkeep.errors import StorageError
from realmkeep.keeping.letters.notices import GIVE_BACK, KEPT, WANTED
from realmkeep.storage import DropFirst, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.clock import Clock
    from realmkeep.keeping.letters.inboxes import InboxDrainer
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.ownership.store_answers import StoreAnswers
    from realmkeep.storage import Storage

NOTICES_A_ROUND: Final = 1000
POLL_S: Final = 0.5  # how soon the owner on another server opens a letter, or releases a player in grace
UNREAD: Final = "notices of letters were not read"


class NoticeListener:
    """Reads the notices for one server, opens the letters that they announce, and passes requests on.

    Attributes:
        on_wanted: Called with a session whose record another server wants.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        server: str,
        sessions: SessionRegistry,
        inboxes: InboxDrainer,
        answers: StoreAnswers,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._key = keys.server_notices(server)
        self._sessions = sessions
        self._inboxes = inboxes
        self._answers = answers
        self.on_wanted: Callable[[Session[Any]], None] = lambda _: None

    async def listen(self) -> None:
        """Look for notices, for ever."""
        while True:
            await self._clock.sleep(POLL_S)
            try:
                notices = await self._storage.load_list(self._key, count=NOTICES_A_ROUND)
                if notices:
                    await self._storage.write([Transaction([], [DropFirst(self._key, len(notices))])])
            except StorageError as error:
                self._answers.note_failure(UNREAD, error)
                continue
            self._answers.note_answer(UNREAD)
            for notice in dict.fromkeys(notices):
                self._arrived(notice.decode("utf-8", "replace"))

    def _arrived(self, notice: str) -> None:
        """Open the letters of the record that the notice names, if it is live here; otherwise its next login does."""
        if notice.endswith(WANTED):
            if (wanted := self._sessions.get(notice.removesuffix(WANTED))) is not None:
                self.on_wanted(wanted)
            return
        session = self._sessions.get(notice.removesuffix(GIVE_BACK).removesuffix(KEPT))
        if session is not None:
            self._inboxes.notice(session, kept=notice.endswith(KEPT), give_back=notice.endswith(GIVE_BACK))
