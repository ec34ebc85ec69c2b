"""The accounts as players use them: registration, login, change of password."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from realmkeep.accounts.account import ADDRESSES_MAX, Account, CharacterId
from realmkeep.accounts.account_watch import AccountWatch, FollowedLogin
from realmkeep.accounts.admin import CHANGE_TURNS_MAX, AccountAdmin
from realmkeep.accounts.counted_logins import LoginCounts, counted
from realmkeep.accounts.credentials import Credentials
from realmkeep.accounts.hash_pool import HashPool
from realmkeep.accounts.login import Login, first_character, login_of
from realmkeep.accounts.lookalikes import Lookalikes
from realmkeep.accounts.new_characters import EntryOfNew, new_character
from realmkeep.accounts.notices import AccountNotices
from realmkeep.accounts.password_rules import PasswordRules, common_passwords
from realmkeep.accounts.passwords import Argon2Cost, HashCost, Pbkdf2Cost, hash_password, needs_rehash
from realmkeep.accounts.sealed_logins import SealedLogins
from realmkeep.accounts.sealed_payloads import OpenedPayload
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.accounts.skeletons import bare_skeletons, confusables
from realmkeep.accounts.throttle import Throttle, network, network_digest, throttle_settings
from realmkeep.accounts.throttle_store import ThrottleStore
from realmkeep.accounts.tickets import issue_ticket
from realmkeep.accounts.usernames import check_username
from realmkeep.accounts.verifier import Verifier
from realmkeep.background import Background
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import AuthConfig, RecordsConfig
from realmkeep.errors import AlreadyExists, AuthFailed, BadSealingKey, Quarantined, StorageError
from realmkeep.keeping.unowned_records import Also, FoundRecord, UnownedRecords
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.records.record import Record
from realmkeep.storage import Storage

NewCharacter: TypeAlias = Callable[[], Awaitable[tuple[CharacterId, Record]]]
KEYS_READ_INTERVAL_S: Final = 30.0  # a rotated key is in use on every server of the realm after this time

log = logging.getLogger("realmkeep.accounts")


class Accounts(AccountAdmin):
    """The accounts of a realm, made by `open_accounts` and used in `async with accounts.running():`; `logins` counts theirs.

    Args:
        stored_accounts: The stored accounts.
        storage: The same store, for the marks of sealed payloads and the failed logins of this server.
        config: The section `auth`.
        server_name: The server's name; each server counts its own failed logins.
        realm_name: Forbidden as a user name, and as the main part of a password.
        keys: The keys that open sealed credentials.
        cost: The cost of a new hash; None: as `config.hash` says.
        clock: The clock.

    Attributes:
        entry_of_new: Makes the entry of a journal for a new character; None for none.
    """

    entry_of_new: EntryOfNew | None = None

    def __init__(
        self,
        stored_accounts: UnownedRecords[Account],
        storage: Storage,
        *,
        config: AuthConfig,
        server_name: str,
        keys: ServerKeys,
        realm_name: str = "",
        cost: HashCost | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        notices = AccountNotices(storage, clock)
        super().__init__(stored_accounts, notices, Lookalikes(storage), clock)
        self._watch = AccountWatch(stored_accounts, notices, clock)
        self._config = config
        self._rules = PasswordRules(config.password_length_min, realm_name)
        self._reserved_names = (*config.reserved_names.split(), realm_name)
        self._cost = cost or (Argon2Cost() if config.hash == "argon2id" else Pbkdf2Cost())
        self._pool = HashPool(threads=config.hash_threads, queue_max=config.hash_queue_max, clock=clock)
        self._throttle = Throttle(throttle_settings(config), clock)
        self._throttle_store = ThrottleStore(self._throttle, storage, server_name, clock)
        self._refusals = RateLimitedLog(clock)  # log lines that a stranger causes for free
        self._successes = RateLimitedLog(clock)  # log lines that cost a password hash each
        self._verifier = Verifier(
            stored_accounts, self._throttle, self._pool, self._cost, clock, config.answer_time_s, self._refusals
        )
        self._background = Background("the accounts", clock)
        self._sealed_logins = SealedLogins(keys, storage, clock, self._refusals)
        self.logins = LoginCounts()

    @property
    def degraded(self) -> tuple[str, ...]:
        """The background tasks that fail now, one sentence each; empty while all is well."""
        return self._background.degraded

    @property
    def public_key(self) -> str:
        """The public key with which clients seal credentials, for `welcome`."""
        return self._sealed_logins.keys.public_key

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Accounts"]:
        """Run the accounts' background tasks while the block runs; close the hash pool at its end.

        The failed logins of the last run are loaded first. During the block failed logins are saved, a rotated key file is
        read, and followed logins end with their accounts.

        Raises:
            StorageError: The store cannot be reached at the start.
        """
        await asyncio.to_thread(common_passwords)  # files: not on the event loop
        await asyncio.to_thread(confusables)
        await self._lookalikes.index_all()
        await self._throttle_store.load_failures()
        self._background.run_forever("saving failed logins", self._keep_saving)
        self._background.run_forever("reading the sealing keys", self._keep_reading_keys)
        self._background.run_forever("looking for ended logins", self._watch.run)
        try:
            yield self
        finally:
            await self._background.stop()
            try:
                await self._throttle_store.save_failures()
            finally:
                await self._pool.close()

    @counted("registration")
    async def create(
        self,
        username: str,
        password: str,
        *,
        address: str = "",
        character: tuple[CharacterId, Record] | NewCharacter | None = None,
        also: tuple[Also, ...] = (),
    ) -> Login:
        """Register an account and its first character in one transaction: both are stored, or neither.

        The name of a plaintext account of version 1 can be registered again; the new account does not get its character.

        Args:
            username: As typed.
            password: As typed.
            address: The client's address; empty without a network.
            character: The id of a new character and its record, or a function that makes both, called once all checks of the
                account have passed. Its errors are raised.
            also: More guards and effects of the same transaction.

        Raises:
            AuthFailed: `bad_username`, `weak_password`, `username_taken`, `throttled` or `unavailable`.
            AlreadyExists: The character exists, or a guard of `also` does not hold; nothing happened.
            RecordError: The character is invalid, too large, or cannot be stored.
            OutcomeUnknown: The store's answer was lost, and the store stays away; log in to see whether the account exists.
        """
        name = check_username(username)
        if any(bare_skeletons(name) & bare_skeletons(reserved) for reserved in self._reserved_names):
            raise AuthFailed("the user name is reserved", reason="bad_username")
        self._rules.check_password(password, username=name)
        if wait_s := self._throttle.address_wait_s(address):
            raise AuthFailed("too many failures", reason="throttled", retry_after_s=wait_s)
        with self._unavailable_is_refused():
            before = await self._find(name)
            self._check_free(before, address)
            if await self._lookalikes.claim_name(name) is None:
                raise self._taken(address, "looks like one that is taken")
            hashed = await self._hash(password, address)
            made = self._new_account(name, hashed, address, before.record if before else None)
            if character is not None:
                id_, record = await character() if callable(character) else character
                made.character_ids = [id_]
                now_us, records = self._clock.wall_us(), self._stored_accounts.records
                also = (*new_character(record, id_, now_us, records, self.entry_of_new), *also)
            first_ticket = issue_ticket(made, first_character(made), self._verifier.now_s())
            made.tickets = first_ticket.kept
            if not await self._store_new(name, before, made, also):
                raise self._taken(address)
            await self._stored_accounts.settled()
        self._successes.say(log.info, "account %s was registered from %r", name, address)
        return login_of(made, first_ticket)

    async def verify_credentials(self, username: str, password: str, *, address: str = "") -> Account:
        """The account with this password; nothing is written.

        Raises:
            AuthFailed: `bad_credentials` (one text and one delay for every cause; the log has the cause), `throttled` or
                `unavailable`.
        """
        return (await self._verifier.check_password(username, password, address)).record

    @counted("password")
    async def login(
        self, username: str, password: str, *, address: str = "", character_id: CharacterId | None = None
    ) -> Login:
        """Log in with a password, and get a ticket. The login renews an older or weaker hash.

        Args:
            username: As typed.
            password: As typed.
            address: The client's address; empty without a network.
            character_id: The character to play; None: the account's first character.

        Raises:
            AuthFailed: `bad_credentials` (also for a character of another account), `new_password_required` (an operator has
                set the password: `change_password`), `throttled` or `unavailable`.
        """
        found = await self._verifier.check_password(username, password, address)
        if found.record.provisional:
            raise AuthFailed("choose a new password to log in", reason="new_password_required")
        verified_hash = found.record.password_hash
        renewed_hash = await self._renewed(found.record, password, address)
        for _ in range(CHANGE_TURNS_MAX):
            account = found.record
            playing = first_character(account) if character_id is None else character_id
            if playing is not None and playing not in account.character_ids:
                self._refusals.say(log.info, "login of %s with a character that is not theirs", account.username)
                raise AuthFailed("no such character of this account", reason="bad_credentials")
            issued = issue_ticket(account, playing, self._verifier.now_s())
            account.tickets = issued.kept
            account.last_login_s = self._verifier.now_s()
            account.password_hash = renewed_hash
            _remember_address(account, address)
            try:
                if await self._stored_accounts.replace(account.username, found, account):
                    return login_of(account, issued, playing)
                found = await self._read_again(account.username, {verified_hash, renewed_hash})
            except StorageError as error:
                self._refusals.say(log.warning, "%s logged in without a ticket: %s", account.username, error)
                return login_of(account, None, playing)
        raise _changed_meanwhile()

    @counted("ticket")
    async def login_with_ticket(self, ticket: str, *, address: str = "") -> Login:
        """Log in with a resume ticket, and get the next one. `ticket` stays valid until the next one is used.

        Raises:
            AuthFailed: `bad_credentials` or `unavailable`; the ticket is as valid as before.
        """
        for _ in range(CHANGE_TURNS_MAX):
            found, issued = await self._verifier.check_ticket(ticket, address, self._end_stolen_family)
            account = found.record
            account.tickets = issued.kept
            account.last_login_s = self._verifier.now_s()
            with self._unavailable_is_refused():
                if await self._stored_accounts.replace(account.username, found, account):
                    return login_of(account, issued, issued.character_id)
        raise AuthFailed("the account is being changed; try again", reason="unavailable")

    async def change_password(
        self,
        username: str,
        password: str,
        new_password: str,
        *,
        address: str = "",
        keep: FollowedLogin | None = None,
    ) -> Login:
        """Replace the password; the same write removes all tickets and all known addresses.

        Servers end the account's sessions within two seconds.

        Args:
            username: The account.
            password: The present password, as typed.
            new_password: As typed.
            address: The client's address; empty without a network.
            keep: The login that requests the change; its session continues.

        Returns:
            A login of this device, with the account's only ticket.

        Raises:
            AuthFailed: `weak_password`, `bad_credentials`, `throttled` or `unavailable`; nothing was changed.
            OutcomeUnknown: The store's answer was lost, and the store stays away; log in to see which password applies.
        """
        found = await self._verifier.check_password(username, password, address)
        verified_hash = found.record.password_hash
        self._rules.check_password(new_password, username=found.record.username)
        if found.record.provisional and new_password == password:
            raise AuthFailed("the password is the present one; choose another", reason="weak_password")
        hashed = await self._hash(new_password, address)
        for _ in range(CHANGE_TURNS_MAX):
            account = found.record
            account.password_hash, account.provisional = hashed, False
            account.addresses, account.tickets = [], []
            _remember_address(account, address)
            playing = first_character(account) if keep is None else keep.login.character_id
            issued = issue_ticket(account, playing, self._verifier.now_s())
            account.tickets = issued.kept
            if keep is not None:
                keep.expect_family(issued.family)
            with self._unavailable_is_refused():
                if await self._replace_and_tell(found, account):
                    await self._stored_accounts.settled()
                    self._successes.say(log.info, "the password of %s was changed", account.username)
                    changed = login_of(account, issued, playing)
                    if keep is not None:
                        keep.renew(changed)
                    return changed
                found = await self._read_again(account.username, {verified_hash})
        raise _changed_meanwhile()

    async def reset_password(self, username: str, new_password: str) -> None:
        """Set a new password without the old one, for an operator; the same write removes all tickets.

        The password opens nothing but `change_password`: a login with it is refused with `new_password_required`.
        A plaintext account of version 1 becomes usable again, with its character.

        Raises:
            AuthFailed: `weak_password` or `throttled`.
            NoSuchAccount, Quarantined, StorageError: As every change.
        """
        self._rules.check_password(new_password, username=username)
        await self.set_password_hash(username, await self._hash(new_password, ""))

    def follow(self, login: Login, ended: Callable[[str], None]) -> FollowedLogin:
        """Follow a login whose session lives on this server, until it ends or the caller unfollows it.

        Args:
            login: The login; changes of its account since then count, too.
            ended: Called once, from the event loop, within two seconds of a change on any server: with `banned`, or with
                `revoked` after a change of password, a logout everywhere, a stolen ticket, or the account's deletion.
        """
        return self._watch.follow(login, ended)

    async def check_followed(self) -> None:
        """Check the followed logins now, instead of within a second, and end those that are no longer valid.

        Raises:
            StorageError: The store cannot be reached; the next check covers all changes.
        """
        await self._watch.check_followed()

    async def open_sealed(
        self, payload: str, *, challenge_holds: Callable[[str], bool] = lambda _: False
    ) -> tuple[Credentials, OpenedPayload]:
        """Open an `encrypted_payload`, once; see `SealedLogins.open_payload`.

        Raises:
            SealBroken: The payload cannot be opened, or holds no credentials.
            AuthFailed: `replayed` or `unavailable`.
            Misuse: `challenge_holds` is no plain function of one argument.
        """
        return await self._sealed_logins.open_payload(payload, challenge_holds=challenge_holds)

    async def _read_again(self, username: str, hashes: set[str]) -> FoundRecord[Account]:
        """The account after another server changed it, if the checked password is still valid.

        Raises:
            AuthFailed: `unavailable`: the password has changed, or the account is banned or gone.
        """
        again = await self._stored_accounts.get(username)
        if again is None or again.record.password_hash not in hashes:
            raise _changed_meanwhile()
        if again.record.is_banned(self._verifier.now_s()):
            raise _changed_meanwhile()
        return again

    async def _end_stolen_family(self, username: str, family: str) -> None:
        await self.end_family(username, family, stolen=True)

    async def _hash(self, password: str, address: str) -> str:
        return await self._pool.run_call(lambda: hash_password(password, self._cost), source=network(address))

    async def _renewed(self, account: Account, password: str, address: str) -> str:
        """The hash to store: a new one if the stored one is older or weaker and the hash pool has room."""
        if not needs_rehash(account.password_hash, self._cost):
            return account.password_hash
        try:
            return await self._hash(password, address)
        except AuthFailed:
            self._refusals.say(log.info, "%s keeps an old password hash until a less busy login", account.username)
            return account.password_hash

    def _new_account(self, name: str, hashed: str, address: str, before: Account | None) -> Account:
        former = [] if before is None else [*before.character_ids, *before.former_character_ids]
        if former:
            self._successes.say(
                log.warning,
                "%s, a plaintext account, was registered again; its characters %s are unlinked",
                name,
                former,
            )
        made = Account(
            username=name,
            password_hash=hashed,
            created_s=self._verifier.now_s(),
            former_character_ids=former,
            last_login_s=self._verifier.now_s(),
        )
        _remember_address(made, address)
        return made

    def _check_free(self, found: FoundRecord[Account] | None, address: str) -> None:
        if found is not None and found.record.password_hash:
            raise self._taken(address)
        if found is not None and found.record.is_banned(self._verifier.now_s()):
            raise self._taken(address)

    async def _store_new(
        self, name: str, before: FoundRecord[Account] | None, made: Account, also: tuple[Also, ...]
    ) -> bool:
        """Store a new account with its skeleton; False if the name, or a look-alike, was taken meanwhile.

        Raises:
            AlreadyExists: A guard of `also` does not hold.
            StorageError: The store cannot be reached, or its answer was lost.
        """
        for _ in range(CHANGE_TURNS_MAX):
            look = await self._lookalikes.claim_name(name)
            if look is None:
                return False
            try:
                if before is None:
                    return await self._stored_accounts.create(name, made, *look, *also)
                return await self._stored_accounts.replace(name, before, made, *look, *also)
            except AlreadyExists:
                if await self._lookalikes.claim_name(name) == look:
                    raise  # the skeleton is unchanged, so a guard of the caller has failed
        raise AuthFailed("the name is contended; try again", reason="unavailable")

    def _taken(self, address: str, why: str = "is taken") -> AuthFailed:
        self._throttle.count_address(address)  # registrations reveal existing names, so a taken one counts as a failure
        return AuthFailed(f"this user name {why}", reason="username_taken")

    @contextmanager
    def _unavailable_is_refused(self) -> Generator[None]:
        """Turn an unreachable store or an unreadable account into a refusal; a lost answer stays `OutcomeUnknown`."""
        try:
            yield
        except (Quarantined, StorageError) as error:
            if error.outcome == "unknown":
                raise
            # The keeper reports an unreachable store once; a warning here would repeat it for every registration.
            line = log.warning if isinstance(error, Quarantined) else log.info
            self._refusals.say(line, "an account could not be read or written: %s", error)
            raise AuthFailed("the server cannot do this now", reason="unavailable") from error

    async def _keep_saving(self) -> None:
        while True:
            await self._clock.sleep(self._config.throttle_save_interval_s)
            await self._throttle_store.save_failures()

    async def _keep_reading_keys(self) -> None:
        """Read the key file again and again: another server, or the operator, may rotate the key."""
        while True:
            await self._clock.sleep(KEYS_READ_INTERVAL_S)
            try:
                await asyncio.to_thread(self._sealed_logins.keys.reload)
            except BadSealingKey as error:
                log.error("the sealing keys stay as they are: %s", error)


def open_accounts(
    storage: Storage,
    config: AuthConfig,
    *,
    server_name: str,
    realm_name: str | None = None,
    records: RecordsConfig | None = None,
    clock: Clock | None = None,
) -> Accounts:
    """The accounts in `storage`. Blocks on the key file: call it before the event loop runs, or on a thread.

    Args:
        storage: Connected before `running()` is entered.
        config: The section `auth`.
        server_name: This server's name, `keeper.name`.
        realm_name: The name of the game; None: the name in `config`.
        records: The section `records`, for accounts and their new characters; None: its defaults.
        clock: The clock; None: the system's.

    Raises:
        BadSealingKey: The key file is unreadable, malformed, or open to other users.
    """
    keys = init_server_encryption(Path(config.key_file), clock=clock)
    common_passwords()  # files, too
    confusables()
    stored_accounts = UnownedRecords(Account, storage, records=records, clock=clock)
    realm_name = config.realm_name if realm_name is None else realm_name
    return Accounts(
        stored_accounts, storage, config=config, server_name=server_name, keys=keys, realm_name=realm_name, clock=clock
    )


def _changed_meanwhile() -> AuthFailed:
    return AuthFailed("the account was changed meanwhile; try again", reason="unavailable")


def _remember_address(account: Account, address: str) -> None:
    """Put the address first among the known ones; attackers at other addresses cannot throttle a known address."""
    if address:
        digest = network_digest(account.username, address)
        others = [each for each in account.addresses if each != digest]
        account.addresses = [digest, *others][:ADDRESSES_MAX]
