"""Acts of operators: every act as one function, granted, done exactly once, and audited; for commands and the console."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.errors import ActPending, ActRefused, AlreadyOwned, NoSuchAccount, SessionEnded
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.operations.operators.approvals import Approvals
from realmkeep.operations.operators.audit import AuditTrail
from realmkeep.operations.operators.bans import banning, check_ban, unbanning
from realmkeep.operations.operators.control import send_order
from realmkeep.operations.operators.editing import edited, top_field
from realmkeep.operations.operators.finding import find_players, look_at
from realmkeep.operations.operators.orders import (
    ORDER_LASTS_S,
    Edit,
    Gift,
    Kick,
    Move,
    Order,
    Outcome,
    Release,
    Rename,
    checked_reason,
)
from realmkeep.operations.operators.roles import check_grant
from realmkeep.operations.operators.running import OrderRunner
from realmkeep.records import IMMEDIATE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from realmkeep import Keeper, Record
    from realmkeep.accounts.admin import Beside
    from realmkeep.config import OperatorsConfig
    from realmkeep.keeping.unowned_records import Also
    from realmkeep.operations.operators.audit import AuditEntry
    from realmkeep.operations.operators.finding import FoundPlayer, PlayerView
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.orders import Change
    from realmkeep.operations.operators.players import LiveGame, Players

ASK_AGAIN_S: Final = 0.25  # between two looks for the outcome of an order on another server
PATIENCE_S: Final = 20.0  # beyond the end of a dead server's lease


class EditPreview(msgspec.Struct, frozen=True):
    """An edit before it is made.

    Attributes:
        field: The field.
        before: Its value now; `(absent)` if there is none.
        after: Its value as the record would store it.
        server: The live server that would run it; empty if the record is stored.
        guarded: The edit is refused if the value is another by then; so for `IMMEDIATE` fields, which commits alone change.
    """

    field: str
    before: Any
    after: Any
    server: str
    guarded: bool


def new_act_id() -> str:
    """An id for one act; an act that is asked for again with it happens once."""
    return secrets.token_hex(8)


class Acts:
    """The acts of operators on players and their accounts.

    Each act checks the grant first. It needs a reason, and an id: asked again with the same id, at any server and within a
    week, it is answered with its outcome and does not happen again. The change and its audit entry are one transaction.

    Args:
        keeper: Any keeper of the realm: that of a game server, or one that a command opens for the moment.
        players: The game's word.
        config: The limits of roles.
        live: The game's reactions, in a game server.
    """

    def __init__(
        self, keeper: Keeper, players: Players, config: OperatorsConfig, *, live: LiveGame | None = None
    ) -> None:
        engine = engine_of(keeper)
        self._keeper = keeper
        self._engine = engine
        self._players = players
        self._config = config
        self._runner = OrderRunner(keeper, players, live)
        self._book = self._runner.book
        self.accounts = self._runner.accounts
        self.trail = AuditTrail(engine.storage)
        self.approvals = Approvals(engine, keeper.name)

    async def find(self, by: Operator, text: str) -> AsyncIterator[FoundPlayer]:
        """The players whose id, name or account is this text, or whose name contains it. Scans every player.

        Raises:
            NotGranted: The role is too low.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "find")
        async for found in find_players(self._engine.reads, self._players, self._engine.records, self.accounts, text):
            yield found

    async def show(self, by: Operator, player: int | str, *, account: str | None = None) -> PlayerView:
        """One player: its record or the error that it gives, owner, revision, account and waiting letters.

        Args:
            by: The operator.
            player: Id or name.
            account: The name of an account that may have the player: then only this account and the one with the player's name are
                looked at. None: otherwise every account is read, which takes long in a large realm.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is no such player.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "show")
        return await look_at(self._engine, self._players, self.accounts, await self.player_id(player), account=account)

    def until_s(self, lasts_s: float | None) -> int | None:
        """The end of a ban that begins now, in seconds since the Unix epoch; None for one without an end."""
        return None if lasts_s is None else self._engine.clock.wall_us() // 1_000_000 + int(lasts_s)

    @property
    def player_class(self) -> type[Record]:
        """The class of the game's players."""
        return self._players.record

    async def look(self, player: int | str) -> PlayerView:
        """As `show`, for acts whose grant was checked.

        Raises:
            StorageError: The store cannot be reached.
        """
        return await look_at(self._engine, self._players, self.accounts, player)

    async def audit(self, by: Operator, *, last: int | None = None) -> AsyncIterator[AuditEntry]:
        """The entries of the audit trail, oldest first.

        Raises:
            NotGranted: The role is too low.
            Corrupt: The head of the trail cannot be read.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "read-audit")
        async for entry in self.trail.entries(last=last):
            yield entry

    async def preview_edit(self, by: Operator, player: int | str, field: str, value: Any) -> EditPreview:
        """Check an edit against the record as it is stored now, and show the difference. Nothing is changed.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is no such player, or the value is refused.
            Quarantined: The record cannot be read.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "edit")
        id_ = await self.player_id(player)
        record = await self._keeper.table(self._players.record).load(id_)
        if record is None:
            raise self._no_player(player)
        made = edited(record, field, value, limits_of(self._engine.records))
        view = await look_at(self._engine, self._players, self.accounts, id_)
        declared = record.__realmkeep__.fields[top_field(field)]
        return EditPreview(field, made.before, made.after, view.server, guarded=declared.tier is IMMEDIATE)

    async def edit(
        self,
        by: Operator,
        player: int | str,
        field: str,
        value: Any,
        *,
        reason: str,
        expected: tuple[Any] | None = None,
        act_id: str = "",
    ) -> Outcome:
        """Change one value of a player's record, wherever the player is.

        Args:
            by: The operator.
            player: Id or name.
            field: `gold`, `settings.music`, `inventory[0].count`.
            value: JSON's types.
            reason: For the audit trail.
            expected: The value that the preview showed, as the only entry: another one refuses the act. None: any.
            act_id: The id of the act; empty for a new one.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused, ActPending: As all acts.
            StorageError: The store cannot be reached.
        """
        return await self._on_player(
            by, "edit", player, Edit(field=field, value=value, expected=expected), reason, act_id
        )

    async def gift(
        self, by: Operator, player: int | str, thing: str, amount: int, *, reason: str, act_id: str = ""
    ) -> Outcome:
        """Give a player an amount of a thing; the role support gives up to `operators.support_gift_max`.

        Raises:
            NotGranted, OpReused: As all acts.
            ApprovalNeeded: The gift is beyond `operators.gift_alone_max`, and a second admin has not approved it.
            ActRefused: As all acts; also for an amount below 1.
            ActPending: As all acts.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "gift", amount=amount, support_max=self._config.support_gift_max)
        if amount < 1:
            raise ActRefused(f"a gift of {amount} is none", hint="give 1 or more")
        change, act_id = Gift(thing=thing, amount=amount), act_id or new_act_id()
        if amount > self._config.gift_alone_max:
            order = self._order(by, "gift", self._players.record, await self.player_id(player), change, reason, act_id)
            await self.approvals.require(order, f"a gift of {amount:,} {thing} to {order.target}")
        return await self._on_player(by, "gift", player, change, reason, act_id)

    async def move(self, by: Operator, player: int | str, place: str, *, reason: str, act_id: str = "") -> Outcome:
        """Put a player somewhere, as the game defines it.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused, ActPending: As all acts.
            StorageError: The store cannot be reached.
        """
        return await self._on_player(by, "move", player, Move(place=place), reason, act_id)

    async def kick(self, by: Operator, player: int | str, *, reason: str, act_id: str = "") -> Outcome:
        """Disconnect a live player; it may come back at once.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused, ActPending: As all acts; also if the player is not in the game.
            StorageError: The store cannot be reached.
        """
        return await self._on_player(by, "kick", player, Kick(), reason, act_id)

    async def release(self, by: Operator, player: int | str, *, reason: str, act_id: str = "") -> Outcome:
        """Disconnect a live player, and have its server save the record and give it up.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused, ActPending: As all acts; also if the player is not in the game.
            StorageError: The store cannot be reached.
        """
        return await self._on_player(by, "release", player, Release(), reason, act_id)

    async def rename(
        self, by: Operator, player: int | str, name: str, *, reason: str, account: str | None = None, act_id: str = ""
    ) -> Outcome:
        """Give a player another name, and its account the same one; sessions of the account end within two seconds.

        Args:
            by: The operator.
            player: Id or name.
            name: The new name.
            reason: For the audit trail.
            account: As for `show`.
            act_id: The id of the act; empty for a new one.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also for a name that is malformed, taken, or looks like one that is.
            ActPending: As all acts.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "rename")
        view = await self.show(by, player, account=account)
        return await self._on_player(by, "rename", player, Rename(name=name, account=view.account), reason, act_id)

    async def ban(
        self, by: Operator, player: int | str, *, reason: str, lasts_s: float | None = None, act_id: str = ""
    ) -> Outcome:
        """Ban the account of a player: logins are refused, and servers end its sessions within two seconds.

        Args:
            by: The operator.
            player: Id or name.
            reason: For the operators.
            lasts_s: Seconds; None: until the ban is lifted. The role support bans for up to seven days.
            act_id: The id of the act; empty for a new one.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if the player has no account.
            StorageError: The store cannot be reached.
        """
        check_ban(by, lasts_s)
        username = await self.account_of(player)
        change = banning(self.accounts, username, reason, self.until_s(lasts_s))
        return await self.on_account(by, "ban", username, {"lasts_s": lasts_s}, reason, act_id, change)

    async def unban(self, by: Operator, player: int | str, *, reason: str, act_id: str = "") -> Outcome:
        """Lift the ban of a player's account.

        Raises:
            NotGranted, OpReused: As all acts.
            ActRefused: As all acts; also if the account is not banned.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "unban")
        username = await self.account_of(player)
        return await self.on_account(by, "unban", username, {}, reason, act_id, unbanning(self.accounts, username))

    async def player_id(self, player: int | str) -> int | str:
        """The id of a player that is named by id, or by the name of its account.

        Raises:
            ActRefused: There is no such player.
            StorageError: The store cannot be reached.
        """
        record_keys = keys_of(self._players.record, player)
        if await self._engine.storage.exists(record_keys.record):
            return player
        try:
            found = await self.accounts.character_id(str(player))
        except NoSuchAccount:
            found = None
        if found is None:
            raise self._no_player(player)
        return found

    async def account_of(self, player: int | str) -> str:
        """The name of the account that has a player.

        Raises:
            ActRefused: There is no such player, or no account has it.
            StorageError: The store cannot be reached.
        """
        view = await self.look(await self.player_id(player))
        if not view.account:
            raise ActRefused(f"no account has {view.key}", hint="name the account itself")
        return view.account

    async def _on_player(
        self, by: Operator, act: str, player: int | str, change: Change, reason: str, act_id: str
    ) -> Outcome:
        """Run a change where the player is live; a stored player is claimed, changed and released."""
        check_grant(by, act)
        return await self.on_record(by, act, self._players.record, await self.player_id(player), change, reason, act_id)

    async def on_record(
        self,
        by: Operator,
        act: str,
        cls: type[Record],
        id: int | str,  # noqa: A002 - the field's own name
        change: Change,
        reason: str,
        act_id: str,
    ) -> Outcome:
        """Run a change of any record where it is owned; for acts whose grant was checked.

        Args:
            by: The operator.
            act: The act.
            cls: The class of the record.
            id: Its id.
            change: The change.
            reason: For the audit trail.
            act_id: The id of the act; empty for a new one.

        Raises:
            OpReused: The id is that of another act.
            ActRefused, ActPending: As all acts.
            StorageError: The store cannot be reached.
        """
        return (await self._run(self._order(by, act, cls, id, change, reason, act_id), cls, id)).require()

    def _order(
        self, by: Operator, act: str, cls: type[Record], id_: int | str, change: Change, reason: str, act_id: str
    ) -> Order:
        return Order(
            act_id=act_id or new_act_id(),
            act=act,
            operator=by.name,
            role=by.role,
            target=keys_of(cls, id_).record,
            reason=checked_reason(reason),
            change=change,
            expires_us=self._engine.clock.wall_us() + int(ORDER_LASTS_S * 1_000_000),
        )

    async def _run(self, order: Order, cls: type[Record], id_: int | str) -> Outcome:
        clock, asked, until_s = self._engine.clock, set[str](), float("inf")
        while True:
            try:
                async with self._keeper.borrow(cls, id_) as session:
                    if session is None:
                        raise ActRefused(f"there is no {order.target} any more", hint="it was deleted meanwhile")
                    outcome = await self._runner.run(order, session)
                    if self._engine.storage.capability.loss_window_s != 0:  # a command ends, and remembers nothing
                        await self._engine.storage.flush()
                    return outcome
            except SessionEnded:
                continue  # it has just left: look for its owner anew
            except AlreadyOwned as owned:
                until_s = min(until_s, clock.monotonic_s() + owned.wait_s + PATIENCE_S)
                if owned.server not in asked:
                    asked.add(owned.server)
                    await send_order(self._engine.storage, owned.server, order)
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                return found
            if clock.monotonic_s() >= until_s:
                raise ActPending(
                    f"the server that owns {order.target} has not answered: {order.act} may still happen",
                    hint=f"ask again with the id {order.act_id}: it happens once",
                )
            await clock.sleep(ASK_AGAIN_S)

    async def on_account(
        self,
        by: Operator,
        act: str,
        username: str,
        details: dict[str, Any],
        reason: str,
        act_id: str,
        change: Callable[[Beside], Awaitable[None]],
    ) -> Outcome:
        """Change an account, with the audit entry in the same transaction; for acts whose grant was checked.

        Args:
            by: The operator.
            act: The act.
            username: The account.
            details: The change, for the entry.
            reason: For the audit trail.
            act_id: The id of the act; empty for a new one.
            change: Changes the account, with what it gets in the same transaction.

        Raises:
            OpReused: The id is that of another act.
            ActRefused: There is no such account, or no reason.
            StorageError: The store cannot be reached.
        """
        order = Order(
            act_id=act_id or new_act_id(),
            act=act,
            operator=by.name,
            role=by.role,
            target=f"account:{username}",
            reason=checked_reason(reason),
            details=details,
        )
        made: Outcome | None = None

        async def beside() -> Sequence[Also]:
            nonlocal made
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                raise _DoneBefore(found)
            made, also = self._book.done(order, details, found)
            return also

        try:
            await change(beside)
        except _DoneBefore as done:
            return done.outcome.require()
        except NoSuchAccount as error:
            raise ActRefused(error.message, hint=error.hint) from error
        assert made is not None  # the change called `beside`
        return made

    def _no_player(self, player: int | str) -> ActRefused:
        kind = self._players.record.__realmkeep__.kind
        return ActRefused(
            f"there is no {kind} {str(player)!r:.80}", hint="`realmkeep player find` looks for a part of a name"
        )


class _DoneBefore(Exception):
    """The act was done before."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.act_id)
        self.outcome = outcome
