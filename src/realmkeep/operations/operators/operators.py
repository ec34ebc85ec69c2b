"""The operators of a realm: their accounts, logins and one-time codes."""

from __future__ import annotations

import asyncio
import base64
import math
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from realmkeep.accounts import Argon2Cost, Pbkdf2Cost, fold_username, hash_password, verify_password
from realmkeep.accounts.password_rules import PasswordRules
from realmkeep.accounts.passwords import dummy_hash
from realmkeep.accounts.throttle import LoginAttempt, Throttle, throttle_settings
from realmkeep.accounts.throttle_store import ThrottleStore
from realmkeep.errors import ActRefused, AlreadyExists, AuthFailed, NoOperator, StorageUnavailable
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.operators.operator import NAME_CHARS_MAX, Operator
from realmkeep.operations.operators.orders import Order, OrderBook, Outcome
from realmkeep.operations.operators.roles import Role, check_grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.clock import Clock
    from realmkeep.config import AuthConfig
    from realmkeep.keeping.unowned_records import FoundRecord
    from realmkeep.storage import Storage

THROTTLE_NAME: Final = "operator-logins"  # stands for a server in the keys of the throttle
TOTP_STEP_S: Final = 30  # RFC 6238
TOTP_DIGITS: Final = 6
TOTP_SECRET_BYTES: Final = 20
TOTP_STEPS_BEFORE: Final = 1  # a code is typed a moment after it was shown
FIRST: Final = "first"  # stands in the audit trail for the command that makes the first operator
TURNS_MAX: Final = 20
_BAD: Final = "the name, the password or the code is wrong, or the operator is disabled"


class Operators:
    """Reads, changes and checks the operators of a realm.

    Args:
        storage: The store, connected.
        auth: Hashing, throttle, and the length of a password.
        clock: The clock.
        server: The name of this server or command, for the audit trail.
    """

    def __init__(self, storage: Storage, auth: AuthConfig, clock: Clock, *, server: str) -> None:
        self._stored = UnownedRecords(Operator, storage, clock=clock)
        self._storage = storage
        self._clock = clock
        self._rules = PasswordRules(auth.password_length_min, auth.realm_name)
        self._cost = Argon2Cost() if auth.hash == "argon2id" else Pbkdf2Cost()
        self._throttle = Throttle(throttle_settings(auth), clock)
        self._throttle_store = ThrottleStore(self._throttle, storage, THROTTLE_NAME, clock)
        self._book = OrderBook(storage, clock, server)

    async def list(self) -> list[Operator]:
        """All operators, by name.

        Raises:
            Quarantined: One cannot be read.
            StorageError: The store cannot be reached.
        """
        names = [key.partition(":")[2] async for key in self._storage.keys("operator:*")]
        found = [await self._stored.get(name) for name in sorted(names)]
        return [each.record for each in found if each is not None]

    async def get(self, name: str) -> Operator:
        """One operator.

        Raises:
            NoOperator: There is none of this name.
            Quarantined: It cannot be read.
            StorageError: The store cannot be reached.
        """
        return (await self._found(name)).record

    async def authenticate(self, name: str, password: str, code: str = "") -> Operator:
        """The operator with this password and one-time code. Every failure counts for the throttle, in the store.

        Args:
            name: As typed.
            password: As typed.
            code: The six digits of its one-time code; needed if it has a secret for them.

        Raises:
            AuthFailed: `bad_credentials`: one text for every cause; or `throttled`.
            NoOperator: The realm has no operators yet.
            Quarantined: The operator cannot be read.
            StorageError: The store cannot be reached.
        """
        await self._check_any()
        await self._throttle_store.load_failures()
        folded = fold_username(name)
        attempt = self._throttle.begin_attempt(folded, "", known=False)
        if not isinstance(attempt, LoginAttempt):
            raise AuthFailed(
                f"too many failures; wait {math.ceil(attempt)} s", reason="throttled", retry_after_s=math.ceil(attempt)
            )
        try:
            found = await self._stored.get(folded) if _is_name(folded) else None
            stored = dummy_hash(self._cost) if found is None else found.record.password_hash
            right = await asyncio.to_thread(verify_password, password, stored) and found is not None
            if not right or found is None or found.record.disabled or not await self._code_holds(found, code):
                attempt.failed()
                raise AuthFailed(_BAD, reason="bad_credentials", hint="an admin can set a new password, or enable it")
            attempt.succeeded()
        finally:
            await self._throttle_store.save_failures()
        return found.record

    async def _check_any(self) -> None:
        async for _ in self._storage.keys("operator:*"):
            return
        raise NoOperator(
            "this realm has no operators yet", hint="make the first one: realmkeep operator add NAME --role admin"
        )

    async def _code_holds(self, found: FoundRecord[Operator], code: str) -> bool:
        """Whether the one-time code is right; its step is noted, so that no second login uses it."""
        operator = found.record
        if not operator.totp_secret:
            return True
        totp = TOTP(base64.b32decode(operator.totp_secret), TOTP_DIGITS, SHA1(), TOTP_STEP_S)  # noqa: S303 - RFC 6238
        now_step = self._clock.wall_us() // 1_000_000 // TOTP_STEP_S
        for step in range(now_step, now_step - TOTP_STEPS_BEFORE - 1, -1):
            try:
                totp.verify(code.strip().encode(), step * TOTP_STEP_S)
            except InvalidToken:
                continue
            if step <= operator.totp_step:
                return False
            operator.totp_step = step
            return await self._stored.replace(operator.name, found, operator)
        return False

    async def add(
        self, by: Operator | None, name: str, role: Role, password: str, *, reason: str, act_id: str
    ) -> Outcome:
        """Add an operator.

        Args:
            by: An admin; None for the first operator of a realm, which must be an admin.
            name: Its name: 1 to 32 letters, digits, `_`, `-` or `.`.
            role: Its role.
            password: Its password, under the rules for players.
            reason: For the audit trail.
            act_id: The id of the act.

        Raises:
            NotGranted: `by` is no admin.
            NoOperator: `by` is needed: the realm has operators.
            ActRefused: The name is taken or malformed, or the first operator would be no admin.
            AuthFailed: `weak_password`.
            StorageError: The store cannot be reached.
        """
        folded = fold_username(name)
        if not _is_name(folded):
            raise ActRefused(f"{name!r:.60} is no name of an operator", hint="1 to 32 letters, digits, '_', '-' or '.'")
        if by is None and await self.list():
            raise NoOperator("the realm has operators already", hint="add others as one of them: --as NAME")
        if by is None and role is not Role.ADMIN:
            raise ActRefused("the first operator is an admin", hint="--role admin")
        hashed = await asyncio.to_thread(self._hash, folded, password)
        made = Operator(name=folded, role=role.word, password_hash=hashed, created_s=self._clock.wall_us() // 1_000_000)
        order = self._order(by, "add-operator", folded, reason, act_id, {"role": role.word})
        for _ in range(TURNS_MAX):
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                return found
            outcome, beside = self._book.done(order, order.details, found)
            try:
                if await self._stored.create(folded, made, *beside):
                    await self._stored.settled()
                    return outcome
            except AlreadyExists:
                continue
            raise ActRefused(f"there is an operator {folded!r} already", hint="choose another name")
        raise _contended()

    async def set_role(self, by: Operator, name: str, role: Role, *, reason: str, act_id: str) -> Outcome:
        """Give an operator another role. The last admin keeps its own.

        Raises:
            OperatorError: As `_change`.
            StorageError: The store cannot be reached.
        """

        def change(operator: Operator) -> None:
            operator.role = role.word

        return await self._change(by, name, change, {"role": role.word}, reason=reason, act_id=act_id)

    async def set_disabled(self, by: Operator, name: str, *, disabled: bool, reason: str, act_id: str) -> Outcome:
        """Disable an operator, or enable it again. The last admin cannot be disabled.

        Raises:
            OperatorError: As `_change`.
            StorageError: The store cannot be reached.
        """

        def change(operator: Operator) -> None:
            operator.disabled = disabled

        return await self._change(by, name, change, {"disabled": disabled}, reason=reason, act_id=act_id)

    async def set_password(self, by: Operator, name: str, password: str, *, reason: str, act_id: str) -> Outcome:
        """Set a new password; an operator may set its own, an admin that of anyone.

        Raises:
            OperatorError: As `_change`.
            AuthFailed: `weak_password`.
            StorageError: The store cannot be reached.
        """
        hashed = await asyncio.to_thread(self._hash, fold_username(name), password)

        def change(operator: Operator) -> None:
            operator.password_hash = hashed

        return await self._change(by, name, change, {"password": "new"}, reason=reason, act_id=act_id)

    async def set_totp(self, by: Operator, name: str, *, wanted: bool, reason: str, act_id: str) -> tuple[Outcome, str]:
        """Begin or end the use of one-time codes; an operator may change its own, an admin that of anyone.

        Returns:
            The outcome; and the address of the new secret for an authenticator, `otpauth://...`, to be shown once; empty
            without one.

        Raises:
            OperatorError: As `_change`.
            StorageError: The store cannot be reached.
        """
        secret = secrets.token_bytes(TOTP_SECRET_BYTES) if wanted else b""

        def change(operator: Operator) -> None:
            operator.totp_secret, operator.totp_step = base64.b32encode(secret).decode(), 0

        outcome = await self._change(by, name, change, {"one-time codes": wanted}, reason=reason, act_id=act_id)
        totp = TOTP(secret, TOTP_DIGITS, SHA1(), TOTP_STEP_S) if wanted else None  # noqa: S303 - RFC 6238
        return outcome, "" if totp is None else totp.get_provisioning_uri(fold_username(name), "Realmkeep")

    async def _change(
        self,
        by: Operator,
        name: str,
        change: Callable[[Operator], None],
        details: dict[str, object],
        *,
        reason: str,
        act_id: str,
    ) -> Outcome:
        """Change an operator, with an audit entry in the same transaction.

        Raises:
            NotGranted: `by` is no admin, and this is not its own password or code.
            NoOperator: There is none of this name.
            ActRefused: The realm would have no admin any more.
            StorageError: The store cannot be reached.
        """
        folded = fold_username(name)
        is_own = folded == by.name and not details.keys() & {"role", "disabled"}
        if not is_own:
            check_grant(by, "change-operator")
        order = self._order(by, "change-operator", folded, reason, act_id, details)
        for _ in range(TURNS_MAX):
            looked = await self._book.look(order)
            if isinstance(looked, Outcome):
                return looked
            found = await self._found(folded)
            admins = await self._admins()
            change(found.record)
            if admins <= {folded} and not _is_admin(found.record):
                raise ActRefused(f"{folded} is the last admin of this realm", hint="make another operator admin first")
            outcome, beside = self._book.done(order, order.details, looked)
            try:
                if await self._stored.replace(folded, found, found.record, *beside):
                    await self._stored.settled()
                    return outcome
            except AlreadyExists:
                continue
        raise _contended()

    def _hash(self, name: str, password: str) -> str:
        """The hash of a password that the rules for players allow. Blocks: it reads the list of common passwords.

        Raises:
            AuthFailed: `weak_password`.
        """
        self._rules.check_password(password, username=name)
        return hash_password(password, self._cost)

    async def _admins(self) -> set[str]:
        return {operator.name for operator in await self.list() if _is_admin(operator)}

    async def _found(self, name: str) -> FoundRecord[Operator]:
        folded = fold_username(name)
        found = await self._stored.get(folded) if _is_name(folded) else None
        if found is None:
            raise NoOperator(f"there is no operator {folded!r:.60}", hint="`realmkeep operator list` shows all")
        return found

    def _order(
        self, by: Operator | None, act: str, name: str, reason: str, act_id: str, details: dict[str, object]
    ) -> Order:
        if by is not None and act == "add-operator":
            check_grant(by, act)
        return Order(
            act_id=act_id,
            act=act,
            operator=FIRST if by is None else by.name,
            role=Role.ADMIN.word if by is None else by.role,
            target=f"operator:{name}",
            reason=reason,
            details=details,
        )


def _is_admin(operator: Operator) -> bool:
    return Role.of(operator.role) is Role.ADMIN and not operator.disabled


def _is_name(folded: str) -> bool:
    allowed = folded.replace("_", "").replace("-", "").replace(".", "")
    return 1 <= len(folded) <= NAME_CHARS_MAX and allowed.isalnum()


def _contended() -> StorageUnavailable:
    return StorageUnavailable(f"other acts were faster {TURNS_MAX} times in a row", hint="ask again")
