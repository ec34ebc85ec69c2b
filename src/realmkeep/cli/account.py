"""`realmkeep account`: accounts of players."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Path as PathRule

from realmkeep.cli.acting import Acting, Changing, Reading, act, agreed, change, printable, say_json, say_outcome, utc
from realmkeep.cli.exit_codes import exit_codes

if TYPE_CHECKING:
    from realmkeep.operations.operators.account_acts import AccountActs, AccountView
    from realmkeep.operations.operators.orders import Outcome

app = App(name="account", help="Accounts of players: show, lock, sign out, reset a password.")

READING: Final = Reading()
CHANGING: Final = Changing()
PasswordFile = Annotated[Path | None, Parameter(validator=PathRule(exists=True, dir_okay=False))]


def _accounts(acting: Acting) -> "AccountActs":
    from realmkeep.operations.operators.account_acts import AccountActs  # noqa: PLC0415 - a command imports when it runs

    return AccountActs(acting.acts, acting.config.auth)


@app.command
def show(username: str, /, *, how: Reading = READING) -> None:
    """Show an account, without its secrets.

    Args:
        username: As typed.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "AccountView":
        return await _accounts(acting).show(acting.by, username)

    view = act(how, run)
    if how.json:
        say_json(view)
    else:
        sys.stdout.writelines(f"{printable(line)}\n" for line in _described(view))


def _described(view: "AccountView") -> Iterator[str]:
    password = "" if view.usable else ", without a usable password"
    yield f"account     {view.username}{', with a password to be changed' if view.provisional else password}"
    yield f"characters  {', '.join(map(str, view.character_ids)) or '-'}"
    if view.former_character_ids:
        yield f"former      {', '.join(map(str, view.former_character_ids))}"
    yield f"created     {utc(view.created_s or None)}"
    yield f"last login  {utc(view.last_login_s)}, {view.devices} devices"
    if view.ban:
        yield f"banned      until {utc(view.ban_until_s) if view.ban_until_s else 'lifted'}: {view.ban}"
    if view.locked:
        yield f"locked      {view.locked}"


@app.command
def lock(username: str, /, *, how: Changing = CHANGING) -> None:
    """Lock an account that may be in foreign hands: its sessions end, and no login succeeds until `unlock`.

    Args:
        username: As typed.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await _accounts(acting).lock(acting.by, username, reason=how.reason, act_id=how.id)

    change(how, "lock the account", [f"account {username} is locked, and its sessions end"], run)


@app.command
def unlock(username: str, /, *, how: Changing = CHANGING) -> None:
    """End the lock of an account; a ban stays.

    Args:
        username: As typed.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await _accounts(acting).unlock(acting.by, username, reason=how.reason, act_id=how.id)

    change(how, "unlock the account", [f"account {username} may log in again"], run)


@app.command
def sign_out(username: str, /, *, how: Changing = CHANGING) -> None:
    """End every session and every ticket of an account; its password stays.

    Args:
        username: As typed.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome":
        return await _accounts(acting).sign_out(acting.by, username, reason=how.reason, act_id=how.id)

    change(how, "sign the account out", [f"account {username} is signed out everywhere"], run)


@app.command
def reset_password(username: str, /, *, password_file: PasswordFile = None, how: Changing = CHANGING) -> None:
    """Set a new password, which is printed once; sessions and tickets end. The old password is void at once.

    The player chooses another password at the next login.

    Args:
        username: As typed.
        password_file: File with the new password; without it a random one is made.
        how: The options of every such command.
    """
    from realmkeep.files import read_secret  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.operations.operators.account_acts import new_password  # noqa: PLC0415 - as above

    with exit_codes():
        password = new_password() if password_file is None else read_secret(password_file)

    async def run(acting: Acting) -> "Outcome | None":
        if not await agreed(how, "reset the password", [f"account {username} gets a new password"]):
            return None
        accounts = _accounts(acting)
        return await accounts.reset_password(acting.by, username, password, reason=how.reason, act_id=how.id)

    outcome = act(how, run)
    if outcome is not None and password_file is None:
        sys.stderr.write(f"the new password, shown once: {password}\n")
    say_outcome(how, outcome)
