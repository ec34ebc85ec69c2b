"""Ends what a login began when its account is banned, deleted, or logged out everywhere, on whichever server that was said."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from realmkeep.accounts.account import Account
from realmkeep.accounts.login import Login
from realmkeep.accounts.notices import AccountNotices
from realmkeep.clock import Clock
from realmkeep.errors import RealmkeepError, StorageError
from realmkeep.keeping.unowned_records import Shelf
from realmkeep.rate_limited_log import RateLimitedLog

POLL_S: Final = 1.0  # one small read a second for each server

log = logging.getLogger("realmkeep.accounts")


class FollowedLogin:
    """A login whose session lives on this server.

    Args:
        watch: Follows it.
        login: What it began with.
        ended: Hears once that the login does not hold any more: `banned` or `revoked`.
    """

    def __init__(self, watch: "AccountWatch", login: Login, ended: Callable[[str], None]) -> None:
        self._watch = watch
        self._ended = ended
        self._families = {login.family}
        self.login = login

    def expect_family(self, family: str) -> None:
        """A ticket of this family is about to be stored for this session: whoever has it is this session, too."""
        self._families.add(family)

    def renew(self, login: Login) -> None:
        """The session goes on with this login, and with no ticket of before."""
        self.login = login
        self._families = {login.family}

    def stop(self) -> None:
        """Stop following; harmless if it was stopped before."""
        self._watch.forget(self)

    def verdict(self, account: Account | None, now_s: int) -> str | None:
        """Why the login does not hold against the account as it is stored; None if it does."""
        if account is None:
            return "revoked"
        if account.is_banned(now_s):
            return "banned"
        if account.epoch == self.login.epoch:
            return None
        return None if self._families & {each.family for each in account.tickets if each.family} else "revoked"

    def end(self, reason: str) -> None:
        """Say so, once."""
        self.stop()
        self._ended(reason)


class AccountWatch:
    """Follows the logins of one server.

    Args:
        shelf: Where the accounts are.
        notices: Which of them were changed.
        clock: Paces the looking, and ends bans.
    """

    def __init__(self, shelf: Shelf[Account], notices: AccountNotices, clock: Clock) -> None:
        self._shelf = shelf
        self._notices = notices
        self._clock = clock
        self._followed: dict[str, set[FollowedLogin]] = {}
        self._seen: dict[str, int] = {}
        self._due: set[str] = set()
        self._lines = RateLimitedLog(clock)

    def follow(self, login: Login, ended: Callable[[str], None]) -> FollowedLogin:
        """Follow a login until it is stopped, or does not hold any more.

        Args:
            login: As it was given; a change of its account since then is found.
            ended: Called once, from the event loop, with `banned` or `revoked`.
        """
        followed = FollowedLogin(self, login, ended)
        self._followed.setdefault(login.username, set()).add(followed)
        if login.username in self._seen:
            self._due.add(login.username)
        return followed

    def forget(self, followed: FollowedLogin) -> None:
        """Follow it no longer; harmless if it is not followed."""
        here = self._followed.get(followed.login.username, set())
        here.discard(followed)
        if not here:
            self._followed.pop(followed.login.username, None)

    async def run(self) -> None:
        """Look for notices, for ever."""
        while True:
            await self._clock.sleep(POLL_S)
            with suppress(StorageError):  # the keeper says that the store is away; the next look has it all
                await self.look()

    async def look(self) -> None:
        """Look once, and end what does not hold any more.

        Raises:
            StorageError: The store cannot be reached; the next look has it all.
        """
        stamps = await self._notices.read()
        self._due |= {name for name, stamp in stamps.items() if self._seen.get(name) != stamp}
        self._seen = stamps
        self._due &= self._followed.keys()
        for name in [*self._due]:
            await self._judge(name)
            self._due.discard(name)

    async def _judge(self, username: str) -> None:
        try:
            found = await self._shelf.get(username)
        except StorageError:
            raise
        except RealmkeepError as error:  # unreadable: nobody can say that the login ended
            self._lines.say(log.error, "the account of a player cannot be read: %s", error)
            return
        now_s = self._clock.wall_us() // 1_000_000
        for followed in [*self._followed.get(username, ())]:
            reason = followed.verdict(found.record if found else None, now_s)
            if reason is not None:
                followed.end(reason)
