"""Ends sessions whose account is banned, deleted or logged out everywhere, on any server of the realm."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from realmkeep.accounts.account import Account
from realmkeep.accounts.login import Login
from realmkeep.accounts.notices import AccountNotices
from realmkeep.clock import Clock
from realmkeep.errors import RealmkeepError, StorageError
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.rate_limited_log import RateLimitedLog

POLL_S: Final = 1.0  # one small read a second for each server

log = logging.getLogger("realmkeep.accounts")


class FollowedLogin:
    """A login whose session lives on this server.

    Args:
        watch: The watch that follows it.
        login: The login that began the session.
        ended: Called once when the login is no longer valid, with `banned` or `revoked`.
    """

    def __init__(self, watch: "AccountWatch", login: Login, ended: Callable[[str], None]) -> None:
        self._watch = watch
        self._ended = ended
        self._families = {login.family}
        self.login = login

    def expect_family(self, family: str) -> None:
        """Accept a family whose first ticket is about to be stored for this session."""
        self._families.add(family)

    def renew(self, login: Login) -> None:
        """Continue the session with a new login; earlier tickets no longer count."""
        self.login = login
        self._families = {login.family}

    def unfollow(self) -> None:
        """Stop following; harmless if it was stopped already."""
        self._watch.unfollow(self)

    def verdict(self, account: Account | None, now_s: int) -> str | None:
        """The reason for which the stored account ends this login; None if the login is valid."""
        if account is None:
            return "revoked"
        if account.is_banned(now_s):
            return "banned"
        if account.epoch == self.login.epoch:
            return None
        return None if self._families & {each.family for each in account.tickets if each.family} else "revoked"

    def report_end(self, reason: str) -> None:
        """Stop following, and report the end."""
        self.unfollow()
        self._ended(reason)


class AccountWatch:
    """Follows the logins of one server.

    Args:
        stored_accounts: The stored accounts.
        notices: Names the changed accounts.
        clock: Paces the checks, and ends bans.
    """

    def __init__(self, stored_accounts: UnownedRecords[Account], notices: AccountNotices, clock: Clock) -> None:
        self._stored_accounts = stored_accounts
        self._notices = notices
        self._clock = clock
        self._followed: dict[str, set[FollowedLogin]] = {}
        self._seen: dict[str, int] = {}
        self._due: set[str] = set()
        self._lines = RateLimitedLog(clock)

    def follow(self, login: Login, ended: Callable[[str], None]) -> FollowedLogin:
        """Follow a login until it ends or is unfollowed.

        Args:
            login: The login; changes of its account since then count, too.
            ended: Called once, from the event loop, with `banned` or `revoked`.
        """
        followed = FollowedLogin(self, login, ended)
        self._followed.setdefault(login.username, set()).add(followed)
        if login.username in self._seen:
            self._due.add(login.username)
        return followed

    def unfollow(self, followed: FollowedLogin) -> None:
        """Stop following a login; harmless if it is not followed."""
        here = self._followed.get(followed.login.username, set())
        here.discard(followed)
        if not here:
            self._followed.pop(followed.login.username, None)

    async def run(self) -> None:
        """Check once a second until cancelled."""
        while True:
            await self._clock.sleep(POLL_S)
            with suppress(StorageError):  # the keeper reports an unreachable store; the next check covers all changes
                await self.check_followed()

    async def check_followed(self) -> None:
        """Read the notices, and end the logins that are no longer valid.

        Raises:
            StorageError: The store cannot be reached; the next check covers all changes.
        """
        stamps = await self._notices.read_stamps()
        self._due |= {name for name, stamp in stamps.items() if self._seen.get(name) != stamp}
        self._seen = stamps
        self._due &= self._followed.keys()
        for name in [*self._due]:
            await self._judge(name)
            self._due.discard(name)

    async def _judge(self, username: str) -> None:
        try:
            found = await self._stored_accounts.get(username)
        except StorageError:
            raise
        except RealmkeepError as error:  # unreadable: this is no evidence that the login has ended
            self._lines.say(log.error, "the account of a player cannot be read: %s", error)
            return
        now_s = self._clock.wall_us() // 1_000_000
        for followed in [*self._followed.get(username, ())]:
            reason = followed.verdict(found.record if found else None, now_s)
            if reason is not None:
                followed.report_end(reason)
