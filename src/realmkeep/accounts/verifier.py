"""Checks passwords and tickets, and refuses all bad ones alike.

An unknown user, a wrong password, a ban, a plaintext account and a malformed hash get the same answer after the same time. The
log has the cause, but never the name of an unknown user, because people type passwords into that field.
"""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from realmkeep.accounts.account import Account
from realmkeep.accounts.hash_pool import HashPool
from realmkeep.accounts.passwords import HashCost, dummy_hash, verify_password
from realmkeep.accounts.throttle import LoginAttempt, Throttle, network, network_digest
from realmkeep.accounts.tickets import IssuedTicket, redeem_ticket, ticket_username
from realmkeep.accounts.usernames import fold_username
from realmkeep.clock import Clock
from realmkeep.errors import AuthFailed, InvalidKey, MalformedHash, NoSuchAccount, Quarantined, StorageError
from realmkeep.keeping.unowned_records import FoundRecord, UnownedRecords
from realmkeep.rate_limited_log import RateLimitedLog

log = logging.getLogger("realmkeep.accounts")

_BAD_CREDENTIALS: Final = "the user name or the password is wrong, or the account cannot be used"


@dataclass(frozen=True)
class Verifier:
    """Checks the credentials of logins.

    Attributes:
        stored_accounts: The stored accounts.
        throttle: Slows down guessing.
        pool: Hashes passwords.
        cost: The cost of the dummy hash for an unknown user.
        clock: The clock, for bans, tickets and the time of the answer.
        answer_time_s: A refusal is sent at the next whole multiple of this time after the request.
        refusals: Bounds the log lines about refused logins.
    """

    stored_accounts: UnownedRecords[Account]
    throttle: Throttle
    pool: HashPool
    cost: HashCost
    clock: Clock
    answer_time_s: float
    refusals: RateLimitedLog

    async def check_password(self, username: str, password: str, address: str) -> FoundRecord[Account]:
        """The account, if the password is right and the account usable.

        Raises:
            AuthFailed: `bad_credentials`, `throttled` or `unavailable`, delayed to the time of all refusals.
        """
        async with self._even_refusals():
            name = fold_username(username)
            found = await self._find(name)
            known = found is not None and network_digest(name, address) in found.record.addresses
            attempt = self.throttle.begin_attempt(name, address, known=known)
            if not isinstance(attempt, LoginAttempt):
                self.refusals.say(log.info, "login from %r has to wait %.0f s after failures", address, attempt)
                raise self._throttled(attempt)
            try:
                right = await self._compare(found, password, address)
            except BaseException:
                attempt.withdrawn()
                raise
            if not right:
                attempt.failed()
            else:
                attempt.succeeded()
            try:
                return self._usable(found, right, address)
            except AuthFailed:
                if attempt.strangers_wait_s:
                    raise self._throttled(attempt.strangers_wait_s) from None
                raise

    async def check_ticket(
        self, ticket: str, address: str, end_family: Callable[[str, str], Awaitable[None]]
    ) -> tuple[FoundRecord[Account], IssuedTicket]:
        """The account, and the ticket that replaces `ticket`; the caller stores it before it sends it.

        Tickets are not throttled, and a false one counts as no failure: 256 bits cannot be guessed, and a false ticket costs
        one read and no hash. An attacker therefore cannot block logins with tickets.

        Args:
            ticket: The ticket of the request.
            address: The client's address.
            end_family: Ends a family after the use of a superseded ticket, given the account's name and the family.

        Raises:
            AuthFailed: `bad_credentials` or `unavailable`, delayed to the time of all refusals.
        """
        async with self._even_refusals():
            name = ticket_username(ticket)
            found = None if name is None else await self._find(name)
            now_s = self.now_s()
            if found is None:
                why = "no such account"
            elif found.record.is_banned(now_s):
                why = f"{found.record.username} is banned"
            else:
                redeemed = redeem_ticket(found.record, ticket, now_s)
                if isinstance(redeemed, IssuedTicket):
                    return found, redeemed
                why = f"{found.record.username} has no such ticket any more"
                if redeemed is not None:
                    why = f"a superseded ticket of {found.record.username} was used again, so its family ends"
                    await self._ended(end_family(found.record.username, redeemed.family))
            self.refusals.say(log.info, "ticket from %r refused: %s", address, why)
            raise AuthFailed(_BAD_CREDENTIALS, reason="bad_credentials")

    def now_s(self) -> int:
        """Seconds since the Unix epoch."""
        return self.clock.wall_us() // 1_000_000

    def _throttled(self, wait_s: float) -> AuthFailed:
        return AuthFailed("too many failures", reason="throttled", retry_after_s=math.ceil(wait_s))

    async def _ended(self, ending: Awaitable[None]) -> None:
        try:
            await ending
        except NoSuchAccount:  # deleted meanwhile, with all its tickets
            return
        except (Quarantined, StorageError) as error:
            self.refusals.say(log.warning, "a superseded ticket was used, and its family may not have ended: %s", error)
            raise AuthFailed("the server cannot check this now", reason="unavailable") from error

    async def _find(self, name: str) -> FoundRecord[Account] | None:
        """The account; None also for a name that no account can have.

        Raises:
            AuthFailed: `unavailable`: the account cannot be read.
        """
        try:
            return await self.stored_accounts.get(name)
        except InvalidKey:
            return None
        except (Quarantined, StorageError) as error:
            # The keeper reports an unreachable store once; an error here would repeat it for every login.
            line = log.error if isinstance(error, Quarantined) else log.info
            self.refusals.say(line, "an account cannot be read: %s", error)
            raise AuthFailed("the server cannot check this now", reason="unavailable") from error

    async def _compare(self, found: FoundRecord[Account] | None, password: str, address: str) -> bool:
        stored = found.record.password_hash if found is not None else ""
        try:
            return await self.pool.run_call(
                lambda: verify_password(password, stored or dummy_hash(self.cost)), source=network(address)
            )
        except MalformedHash as error:
            self.refusals.say(log.error, "the account %s: %s", found.record.username if found else "", error)
            return False

    def _usable(self, found: FoundRecord[Account] | None, right: bool, address: str) -> FoundRecord[Account]:  # noqa: FBT001 - the verdict
        if found is None:
            why = "no such account"
        elif not found.record.password_hash:
            why = f"{found.record.username} has a plaintext password of version 1: it has to register again"
        elif not right:
            why = f"wrong password for {found.record.username}"
        elif found.record.is_banned(self.now_s()):
            why = f"{found.record.username} is banned"
        else:
            return found
        self.refusals.say(log.info, "login from %r refused: %s", address, why)
        raise AuthFailed(_BAD_CREDENTIALS, reason="bad_credentials")

    @asynccontextmanager
    async def _even_refusals(self) -> AsyncGenerator[None]:
        """Delay a refusal to the next multiple of the answer time, so that its timing does not reveal its cause."""
        started_s = self.clock.monotonic_s()
        try:
            yield
        except AuthFailed:
            if self.answer_time_s > 0:
                took_s = self.clock.monotonic_s() - started_s
                turns = max(1, math.ceil(took_s / self.answer_time_s))
                await self.clock.sleep(turns * self.answer_time_s - took_s)
            raise
