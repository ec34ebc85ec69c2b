"""`realmkeep audit`: the acts of operators."""

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from realmkeep.cli.acting import Acting, Flag, Reading, act, printable, say_json, utc
from realmkeep.cli.exit_codes import FINDINGS, USAGE, exit_codes

if TYPE_CHECKING:
    from realmkeep.operations.operators.audit import AuditEntry, AuditVerdict

app = App(name="audit", help="The acts of operators: a chain of entries, to which is only appended.")

READING: Final = Reading()


@app.command(name="list")
def list_(
    *,
    last: Annotated[int, Parameter(validator=Number(gte=0))] = 50,
    target: str = "",
    operator: str = "",
    how: Reading = READING,
) -> None:
    """List the newest acts, the oldest of them first.

    Args:
        last: Look at so many of the newest entries; 0: all.
        target: Only acts on the record with this key, such as player:7 or account:ada.
        operator: Only acts of this operator.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "list[AuditEntry]":
        found = acting.acts.audit(acting.by, last=last or None)
        return [each async for each in found if target in {"", each.target} and operator in {"", each.operator}]

    entries = act(how, run)
    if how.json:
        say_json(entries)
        return
    for each in entries:
        details = msgspec.json.encode(each.details).decode()
        told = (
            f"{each.sequence}  {utc(each.at_us // 1_000_000)}  {each.operator} ({each.role})  {each.act} {each.target}"
        )
        sys.stdout.write(f"{printable(told)}  {ascii(details)[1:-1]}  {printable(each.reason)}\n")


@app.command
def verify(*, expect: str = "", store: str | None = None, json: Flag = False) -> None:
    """Verify the chain of the audit trail: no entry was changed, removed or added. Nothing is written.

    Prints the number of the last entry and its hash. Note both elsewhere: with --expect a later verification finds that the
    trail was cut or written anew as a whole. Exits with 1 if there is a fault.

    Args:
        expect: ENTRY:HASH, as an earlier verification printed it.
        store: URL of the store; by default from the settings.
        json: Print JSON instead of lines.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    match = re.fullmatch(r"(\d{1,15}):([0-9a-f]{64})", expect) if expect else None
    if expect and match is None:
        sys.stderr.write("realmkeep: --expect is ENTRY:HASH, as an earlier verification printed it\n")
        sys.exit(USAGE)
    with exit_codes():
        url = config_with(store).store.url
        verdict = asyncio.run(_verify(url, None if match is None else (int(match[1]), match[2])))
    if json:
        say_json(verdict)
    else:
        sys.stdout.writelines(f"{fault}\n" for fault in verdict.faults)
        sys.stdout.write(f"{verdict.entries} entries, the last is {verdict.entries}:{verdict.hash}\n")
    sys.exit(FINDINGS if verdict.faults else 0)


async def _verify(url: str, expected: tuple[int, str] | None) -> "AuditVerdict":
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.operators.audit import AuditTrail  # noqa: PLC0415 - as above
    from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above

    storage = await connect_beside(url, clock=SystemClock())
    try:
        return await AuditTrail(storage).verify(expected=expected)
    finally:
        await storage.disconnect()
