"""`realmkeep operator`: the operators of a realm and their roles."""

import asyncio
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Path as PathRule

from realmkeep.cli.acting import (
    Acting,
    Changing,
    Flag,
    Reading,
    act,
    agreed,
    change,
    log_in,
    need_reason,
    opened,
    printable,
    say_json,
    say_outcome,
    utc,
)
from realmkeep.cli.exit_codes import USAGE, exit_codes
from realmkeep.errors import ConfigError

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.operations.operators.approvals import Request
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.orders import Outcome

app = App(name="operator", help="Operators: who may do what, with an account and a role each.")

READING: Final = Reading()
CHANGING: Final = Changing()
RoleWord = Literal["viewer", "support", "admin"]
PasswordFile = Annotated[Path | None, Parameter(validator=PathRule(exists=True, dir_okay=False))]


@app.command
def add(
    name: str,
    /,
    *,
    role: RoleWord,
    password_file: PasswordFile = None,
    how: Changing = CHANGING,
) -> None:
    """Add an operator. The first of a realm is an admin, and needs no other operator.

    Args:
        name: Its name.
        role: viewer reads; support kicks, bans for up to 7 days and gives small gifts; admin may do all.
        password_file: File with its password; without it the terminal asks.
        how: The options of every such command.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    with exit_codes():
        config = config_with(how.store)
        password = _new_password(name, password_file)
        say_outcome(how, asyncio.run(_added(config, name, role, password, how)))


async def _added(config: "Config", name: str, role: RoleWord, password: str, how: Changing) -> "Outcome | None":
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - a command imports when it runs
    from realmkeep.operations.operators.roles import Role  # noqa: PLC0415 - as above

    async with opened(config, changes=False) as (_, operators):
        by, reason = None, how.reason or "the first operator"
        if await operators.list():
            need_reason(how)
            by = await log_in(config, operators, how)
        if not await agreed(how, "add the operator", [f"operator {name} is added with the role {role}"]):
            return None
        act_id = how.id or new_act_id()
        return await operators.add(by, name, Role.of(role), password, reason=reason, act_id=act_id)


def _new_password(name: str, path: Path | None) -> str:
    from realmkeep.files import read_secret  # noqa: PLC0415 - a command imports its modules when it runs

    if path is not None:
        return read_secret(path)
    if not sys.stdin.isatty():
        raise ConfigError(f"no password for {name}", hint="add --password-file FILE, off a terminal")
    password = getpass.getpass(f"New password of {name}: ")
    if getpass.getpass("Again: ") != password:
        sys.stderr.write("realmkeep: the two passwords differ\n")
        sys.exit(USAGE)
    return password


@app.command(name="list")
def list_(*, how: Reading = READING) -> None:
    """List the operators with their roles.

    Args:
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "list[Operator]":
        return await acting.operators.list()

    found = act(how, run)
    if how.json:
        keys = ("name", "role", "disabled", "created_s")
        say_json(
            [{**{key: getattr(each, key) for key in keys}, "one_time_codes": bool(each.totp_secret)} for each in found]
        )
        return
    for each in found:
        marks = f"{'  disabled' if each.disabled else ''}{'  one-time codes' if each.totp_secret else ''}"
        sys.stdout.write(f"{each.name}  {each.role}{marks}\n")


@app.command
def requests(*, how: Reading = READING) -> None:
    """List the acts that wait for the approval of a second admin, each for a day.

    Args:
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "list[Request]":
        return await acting.acts.approvals.pending(acting.by)

    found = act(how, run)
    if how.json:
        say_json(found)
        return
    for each in found:
        told = f"{utc(each.at_us // 1_000_000)}  {each.act_id}  {each.operator}: {each.told} ({each.reason})"
        sys.stdout.write(f"{printable(told)}\n")


@app.command
def approve(act_id: str, /, *, how: Changing = CHANGING) -> None:
    """Approve an act that another admin has asked for; that admin asks again with its id.

    Args:
        act_id: The id of the act, as `realmkeep operator requests` has it.
        how: The options of every such command.
    """
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - a command imports when it runs

    async def run(acting: Acting) -> "Outcome":
        approval_id = how.id or new_act_id()
        return await acting.acts.approvals.approve(acting.by, act_id, reason=how.reason, approval_id=approval_id)

    change(how, "approve it", [f"the act {act_id} may happen"], run)


@app.command
def role(name: str, word: RoleWord, /, *, how: Changing = CHANGING) -> None:
    """Give an operator another role; the last admin stays one.

    Args:
        name: The operator.
        word: The role.
        how: The options of every such command.
    """
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - a command imports when it runs
    from realmkeep.operations.operators.roles import Role  # noqa: PLC0415 - as above

    async def run(acting: Acting) -> "Outcome":
        act_id = how.id or new_act_id()
        return await acting.operators.set_role(acting.by, name, Role.of(word), reason=how.reason, act_id=act_id)

    change(how, "change the role", [f"operator {name} becomes {word}"], run)


@app.command
def disable(name: str, /, *, how: Changing = CHANGING) -> None:
    """Disable an operator: its logins are refused from now on. The last admin cannot be disabled.

    Args:
        name: The operator.
        how: The options of every such command.
    """
    _set_disabled(name, how, disabled=True)


@app.command
def enable(name: str, /, *, how: Changing = CHANGING) -> None:
    """Enable a disabled operator again.

    Args:
        name: The operator.
        how: The options of every such command.
    """
    _set_disabled(name, how, disabled=False)


def _set_disabled(name: str, how: Changing, *, disabled: bool) -> None:
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - a command imports when it runs

    async def run(acting: Acting) -> "Outcome":
        act_id = how.id or new_act_id()
        return await acting.operators.set_disabled(acting.by, name, disabled=disabled, reason=how.reason, act_id=act_id)

    word = "disabled" if disabled else "enabled"
    change(how, f"have it {word}", [f"operator {name} is {word}"], run)


@app.command
def password(name: str, /, *, password_file: PasswordFile = None, how: Changing = CHANGING) -> None:
    """Set the password of an operator: its own, or as an admin that of another one.

    Args:
        name: The operator.
        password_file: File with the new password; without it the terminal asks.
        how: The options of every such command.
    """
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - a command imports when it runs

    with exit_codes():
        new = _new_password(name, password_file)

    async def run(acting: Acting) -> "Outcome":
        act_id = how.id or new_act_id()
        return await acting.operators.set_password(acting.by, name, new, reason=how.reason, act_id=act_id)

    change(how, "set the password", [f"operator {name} gets a new password"], run)


@app.command
def codes(name: str, /, *, end: Flag = False, how: Changing = CHANGING) -> None:
    """Have an operator use one-time codes (TOTP): prints the address of the secret for an authenticator, once.

    Args:
        name: The operator.
        end: End the use of them instead.
        how: The options of every such command.
    """
    from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - a command imports when it runs

    async def run(acting: Acting) -> "tuple[Outcome, str] | None":
        if not await agreed(how, "change that", [f"operator {name} {'needs no' if end else 'needs a'} one-time code"]):
            return None
        act_id = how.id or new_act_id()
        return await acting.operators.set_totp(acting.by, name, wanted=not end, reason=how.reason, act_id=act_id)

    done = act(how, run)
    if done is not None and done[1]:
        sys.stdout.write(f"{done[1]}\n")
    say_outcome(how, None if done is None else done[0])
