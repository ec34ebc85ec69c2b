"""Checks a password or a ticket, and says no in one voice.

To the outside an unknown user, a wrong password, a ban, a plaintext account and a malformed hash are the same words after the
same time. The log says which it was, but never the name of a user who does not exist: people type passwords there.
"""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from realmkeep.accounts.account import Account
from realmkeep.accounts.names import fold_username
from realmkeep.accounts.passwords import HashCost, dummy_hash, verify_password
from realmkeep.accounts.pool import HashPool
from realmkeep.accounts.throttle import Attempt, Throttle, network, network_digest
from realmkeep.accounts.tickets import IssuedTicket, redeem_ticket, ticket_username
from realmkeep.clock import Clock
from realmkeep.errors import AuthFailed, InvalidKey, MalformedHash, NoSuchAccount, Quarantined, StorageError
from realmkeep.keeping.unowned_records import Shelf, Shelved
from realmkeep.rate_limited_log import RateLimitedLog

log = logging.getLogger("realmkeep.accounts")

_BAD_CREDENTIALS: Final = "the user name or the password is wrong, or the account cannot be used"


@dataclass(frozen=True)
class Verifier:
    """Decides who may come in.

    Attributes:
        shelf: Where the accounts are.
        throttle: Slows guessing down.
        pool: Where passwords are hashed.
        cost: Of the hash that an unknown user's password is compared with.
        clock: For bans, tickets and the time of the answer.
        answer_time_s: A refusal comes at the first whole multiple of this after the request.
        refusals: Bounds the lines that say why a login was refused.
    """

    shelf: Shelf[Account]
    throttle: Throttle
    pool: HashPool
    cost: HashCost
    clock: Clock
    answer_time_s: float
    refusals: RateLimitedLog

    async def password(self, username: str, password: str, address: str) -> Shelved[Account]:
        """The account, if the password is right and the account may be used.

        Raises:
            AuthFailed: `bad_credentials`, `throttled` or `unavailable`, at the time of all refusals.
        """
        async with self._even_refusals():
            name = fold_username(username)
            found = await self._find(name)
            known = found is not None and network_digest(name, address) in found.record.addresses
            attempt = self.throttle.begin(name, address, known=known)
            if not isinstance(attempt, Attempt):
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

    async def ticket(
        self, ticket: str, address: str, end_family: Callable[[str, str], Awaitable[None]]
    ) -> tuple[Shelved[Account], IssuedTicket]:
        """The account and the ticket that replaces `ticket`, which is to be stored before it is handed out.

        Tickets are not throttled, nor do false ones count as failures: nobody guesses 256 bits, a false ticket costs one
        read and no hash, and tickets are the way in that an attacker cannot close.

        Args:
            ticket: As it was shown.
            address: Where it comes from.
            end_family: Ends a family of tickets, given the account's name and the family: a superseded one was shown.

        Raises:
            AuthFailed: `bad_credentials` or `unavailable`, at the time of all refusals.
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

    async def _find(self, name: str) -> Shelved[Account] | None:
        """The account; None also for a name that no account can have.

        Raises:
            AuthFailed: `unavailable`: it cannot be read.
        """
        try:
            return await self.shelf.get(name)
        except InvalidKey:
            return None
        except (Quarantined, StorageError) as error:
            # A store that is away is the keeper's to report, once; here it would be a line for every login.
            line = log.error if isinstance(error, Quarantined) else log.info
            self.refusals.say(line, "an account cannot be read: %s", error)
            raise AuthFailed("the server cannot check this now", reason="unavailable") from error

    async def _compare(self, found: Shelved[Account] | None, password: str, address: str) -> bool:
        stored = found.record.password_hash if found is not None else ""
        try:
            return await self.pool.run(
                lambda: verify_password(password, stored or dummy_hash(self.cost)), source=network(address)
            )
        except MalformedHash as error:
            self.refusals.say(log.error, "the account %s: %s", found.record.username if found else "", error)
            return False

    def _usable(self, found: Shelved[Account] | None, right: bool, address: str) -> Shelved[Account]:  # noqa: FBT001 - the verdict
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
        """Hold a refusal back until the next multiple of the answer time, so that its moment says nothing about its cause."""
        started_s = self.clock.monotonic_s()
        try:
            yield
        except AuthFailed:
            if self.answer_time_s > 0:
                took_s = self.clock.monotonic_s() - started_s
                turns = max(1, math.ceil(took_s / self.answer_time_s))
                await self.clock.sleep(turns * self.answer_time_s - took_s)
            raise
