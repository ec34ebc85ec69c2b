"""`realmkeep player`: find players, look at them, and act on them."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from realmkeep.cli.acting import (
    Acting,
    Archive,
    Changing,
    Flag,
    Reading,
    act,
    agreed,
    archive_of,
    change,
    printable,
    say_json,
    say_outcome,
    utc,
)
from realmkeep.cli.exit_codes import FINDINGS

if TYPE_CHECKING:
    from realmkeep.operations.operators.acts import EditPreview
    from realmkeep.operations.operators.finding import FoundPlayer, PlayerView
    from realmkeep.operations.operators.orders import Outcome
    from realmkeep.operations.privacy.erasing import ErasurePlan

app = App(name="player", help="Players: find, show and change them; every change stands in the audit trail.")
app.command("realmkeep.cli.history:history", name="history", help="Show what the commits changed on a player.")
app.command("realmkeep.cli.history:at", name="at", help="Show a player as it was at a moment.")

READING: Final = Reading()
CHANGING: Final = Changing()
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@app.command
def find(text: str, /, *, how: Reading = READING) -> None:
    """Find players by id, by the name of their account, or by a part of their name. Reads every player.

    Exits with 1 if there is none.

    Args:
        text: The id or a part of the name.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "list[FoundPlayer]":
        return [each async for each in acting.acts.find(acting.by, text)]

    found = act(how, run)
    if how.json:
        say_json(found)
    else:
        for each in found:
            sys.stdout.write(f"{each.id}  {printable((each.error and f'unreadable: {each.error}') or each.name)}\n")
    sys.exit(0 if found else FINDINGS)


@app.command
def show(player: str, /, *, how: Reading = READING) -> None:
    """Show a player: owner, revision, account, letters, and each field with its tier, type, bounds and value.

    Exits with 1 if its record cannot be read.

    Args:
        player: Id or name.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "PlayerView":
        return await acting.acts.show(acting.by, player)

    view = act(how, run)
    if how.json:
        say_json(view)
    else:
        sys.stdout.writelines(f"{printable(line)}\n" for line in _described(view))
    sys.exit(FINDINGS if view.error else 0)


def _described(view: "PlayerView") -> Iterator[str]:
    yield f"record   {view.key}, version {view.version}, written {utc(view.revision_us / 1e6)}"
    yield f"where    {f'live on {view.server}' if view.server else 'stored'}"
    yield f"account  {view.account or '-'}"
    if view.ban:
        yield f"banned   until {utc(view.ban_until_s) if view.ban_until_s else 'lifted'}: {view.ban}"
    yield f"letters  {view.letters} in the inbox, {view.kept} kept"
    if view.error:
        yield f"error    {view.error}"
    width = max((len(field.name) for field in view.fields), default=0)
    for field in view.fields:
        declared = f"{field.type}{f', {field.bounds}' if field.bounds else ''}"
        yield f"  {field.name:<{width}}  {msgspec.json.encode(field.value).decode()}  ({field.tier}, {declared})"


@app.command
def edit(player: str, field: str, value: str, /, *, how: Changing = CHANGING) -> None:
    """Change one value of a player's record, wherever the player is, after a look at the difference.

    The value is checked as a stored one is: type, bounds, rules. A live player is changed by its server in a commit.

    Args:
        player: Id or name.
        field: Such as gold, settings.music or inventory[0].count; the index behind the last entry adds one.
        value: As JSON (12, true, "text"); anything else is text.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome | None":
        wanted = _value_of(value)
        preview = await acting.acts.preview_edit(acting.by, player, field, wanted)
        if not await agreed(how, "make this edit", _difference(player, preview)):
            return None
        expected = (preview.before,) if preview.guarded else None
        return await acting.acts.edit(
            acting.by, player, field, wanted, reason=how.reason, expected=expected, act_id=how.id
        )

    say_outcome(how, act(how, run))


def _difference(player: str, preview: "EditPreview") -> Iterator[str]:
    yield f"player {player}, {f'live on {preview.server}' if preview.server else 'stored'}: {preview.field}"
    yield f"- {msgspec.json.encode(preview.before).decode()}"
    yield f"+ {msgspec.json.encode(preview.after).decode()}"


def _value_of(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


@app.command
def gift(player: str, thing: str, amount: int, /, *, how: Changing = CHANGING) -> None:
    """Give a player an amount of a thing, such as gold; the role support gives up to operators.support_gift_max.

    Args:
        player: Id or name.
        thing: As the game names it.
        amount: From 1.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.gift(acting.by, player, thing, amount, reason=how.reason, act_id=how.id)

    change(how, "give this", [f"player {player} gets {amount:,} {thing}"], run)


@app.command
def move(player: str, place: str, /, *, how: Changing = CHANGING) -> None:
    """Put a player somewhere, live or stored.

    Args:
        player: Id or name.
        place: As the game names it; in the reference realm a zone.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.move(acting.by, player, place, reason=how.reason, act_id=how.id)

    change(how, "move the player", [f"player {player} is put into {place}"], run)


@app.command
def kick(player: str, /, *, how: Changing = CHANGING) -> None:
    """Disconnect a live player, who may come back at once.

    Args:
        player: Id or name.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.kick(acting.by, player, reason=how.reason, act_id=how.id)

    change(how, "kick the player", [f"player {player} is disconnected"], run)


@app.command
def release(player: str, /, *, how: Changing = CHANGING) -> None:
    """Disconnect a live player; its server saves the record a last time and gives it up.

    Args:
        player: Id or name.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.release(acting.by, player, reason=how.reason, act_id=how.id)

    change(how, "release the player", [f"player {player} is disconnected, saved and released"], run)


def _duration(_type: Any, tokens: Any) -> float:
    text = tokens[0].value if not isinstance(tokens, str) else tokens
    match = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if match is None:
        raise ValueError("a number and m, h, d or w: 30m, 12h, 7d, 2w")
    return float(int(match[1]) * _SECONDS[match[2]])


@app.command
def ban(
    player: str,
    /,
    *,
    lasts: Annotated[float | None, Parameter(name="--for", converter=_duration)] = None,
    how: Changing = CHANGING,
) -> None:
    """Ban the account of a player: servers end its sessions within two seconds, and refuse its logins.

    Args:
        player: Id or name.
        lasts: 30m, 12h, 7d or 2w; without it until the ban is lifted, which takes the role admin.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.ban(acting.by, player, reason=how.reason, lasts_s=lasts, act_id=how.id)

    until = "until the ban is lifted" if lasts is None else f"for {lasts / 3600:g} hours"
    change(how, "ban the account", [f"the account of player {player} is banned {until}"], run)


@app.command
def unban(player: str, /, *, how: Changing = CHANGING) -> None:
    """Lift the ban of a player's account.

    Args:
        player: Id or name.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.unban(acting.by, player, reason=how.reason, act_id=how.id)

    change(how, "lift the ban", [f"the account of player {player} may log in again"], run)


@app.command
def rename(player: str, name: str, /, *, how: Changing = CHANGING) -> None:
    """Give a player another name, and its account the same one; the player logs in again under it.

    Args:
        player: Id or name.
        name: The new name, under the rules for names of accounts.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await acting.acts.rename(acting.by, player, name, reason=how.reason, act_id=how.id)

    change(how, "rename the player", [f"player {player} and its account become {name}"], run)


@app.command
def export(player: str = "", /, *, schema: Flag = False, archive: Archive = None, how: Reading = READING) -> None:
    """Print everything about one person as JSON: account, records, letters, records that name it, acts, journal.

    Args:
        player: The name of the account, or the id of a player.
        schema: Print the JSON schema of that instead.
        archive: As above.
        how: The options of every such command.
    """
    from realmkeep.operations.backup.holdings import load_holdings  # noqa: PLC0415 - a command imports when it runs
    from realmkeep.operations.privacy.exporting import PersonExport, export_person  # noqa: PLC0415 - as above
    from realmkeep.operations.privacy.exporting import schema as schema_of  # noqa: PLC0415 - as above

    if schema:
        say_json(schema_of())
        return

    async def run(acting: Acting) -> PersonExport:
        holdings = load_holdings(acting.config.backup.holdings)
        async with archive_of(acting.config, archive) as opened:
            return await export_person(acting.keeper, acting.acts, holdings, acting.by, player, archive=opened)

    say_json(act(how, run))


@app.command
def erase(player: str, /, *, archive: Archive = None, how: Changing = CHANGING) -> None:
    """Erase one person: account, players, letters, copies, journal, the entries in friend lists; and in every later restore.

    The erasure is noted in backup.directory first. Its receipt says which backups hold the person until when. If it fails on
    the way, ask again with --id.

    Args:
        player: The name of the account, or the id of a player.
        archive: As above.
        how: The options of every such command.
    """
    from realmkeep.operations.backup.holdings import load_holdings  # noqa: PLC0415 - a command imports when it runs
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - as above
    from realmkeep.operations.privacy.erasing import Erasing, Receipt  # noqa: PLC0415 - as above

    async def run(acting: Acting) -> Receipt | None:
        config = acting.config
        directory = await asyncio.to_thread(Path(config.backup.directory).absolute)
        holdings = load_holdings(config.backup.holdings)
        async with archive_of(config, archive) as opened:
            erasing = Erasing(acting.keeper, acting.acts, holdings, config.backup, directory, archive=opened)
            plan = await erasing.plan(acting.by, player)
            if not await agreed(how, "erase this person", _told(plan)):
                return None
            act_id = how.id or new_act_id()
            return await erasing.erase(acting.by, player, reason=how.reason, act_id=act_id)

    receipt = act(how, run)
    if receipt is None:
        say_outcome(how, None)
    elif how.json:
        say_json(receipt)
    else:
        sys.stdout.write(
            f"erased at {utc(receipt.at_us // 1_000_000)}; audit entry {receipt.entry}, act {receipt.act_id}\n"
        )
        for server, count in receipt.waiting.items():
            sys.stdout.write(f"{count} entries of the journal lose the person when {server} archives them\n")


def _told(plan: "ErasurePlan") -> Iterator[str]:
    yield f"erased: {', '.join(plan.records)}"
    yield f"with {len(plan.beside)} keys beside them, and {len(plan.copies)} copies of unusable bytes"
    for key, fields in plan.references.items():
        yield f"{key} forgets the person in {', '.join(fields)}"
    for key, count in plan.letters_sent.items():
        yield f"{count} letters of the person stay in {key} until they are opened"
    for backup in plan.backups:
        yield f"the backup {backup.name} holds the person until {utc(backup.until_us // 1_000_000)}; a restore erases it again"
