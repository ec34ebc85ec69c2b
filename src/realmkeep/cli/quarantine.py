"""`realmkeep quarantine`: records that cannot be used."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Path as PathRule

from realmkeep.cli.acting import Acting, Changing, Reading, act, agreed, printable, say_json, say_outcome
from realmkeep.cli.exit_codes import FINDINGS

if TYPE_CHECKING:
    from realmkeep.operations.operators.orders import Outcome
    from realmkeep.operations.operators.quarantine import KeptCopy, Quarantine, QuarantineView

app = App(name="quarantine", help="Records that cannot be used: look at their bytes, mend them, discard them.")

READING: Final = Reading()
CHANGING: Final = Changing()
Content = Annotated[Path, Parameter(validator=PathRule(exists=True, dir_okay=False))]


def _quarantine(acting: Acting) -> "Quarantine":
    from realmkeep.operations.backup.holdings import load_holdings  # noqa: PLC0415 - a command imports when it runs
    from realmkeep.operations.operators.quarantine import Quarantine  # noqa: PLC0415 - as above

    return Quarantine(acting.keeper, load_holdings(acting.config.backup.holdings).records)


@app.command(name="list")
def list_(*, how: Reading = READING) -> None:
    """List the copies of unusable bytes that refused logins left, each for a week.

    Exits with 1 if the record of one is still unusable. `realmkeep keys check` finds records that nobody has logged in to.

    Args:
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "list[KeptCopy]":
        return sorted([each async for each in _quarantine(acting).list(acting.by)], key=lambda each: each.key)

    found = act(how, run)
    if how.json:
        say_json(found)
    else:
        for each in found:
            sys.stdout.write(
                f"{each.key}  {each.record} {'cannot be used' if each.unusable else 'can be used by now'}\n"
            )
    sys.exit(FINDINGS if any(each.unusable for each in found) else 0)


@app.command
def show(key: str, /, *, how: Reading = READING) -> None:
    """Show the bytes at a key, each fault with its place, and the digest for `mend` and `discard`.

    Exits with 1 if the record cannot be used.

    Args:
        key: The key of a record, such as player:7, or of a kept copy.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "QuarantineView":
        return await _quarantine(acting).show(acting.by, key)

    view = act(how, run)
    if how.json:
        say_json(view)
    else:
        sys.stdout.writelines(f"{line}\n" for line in _described(view))
    sys.exit(FINDINGS if view.error else 0)


def _described(view: "QuarantineView") -> Iterator[str]:
    yield f"{view.key}  digest {view.digest}{f', owned by {view.server}' if view.server else ''}"
    yield printable(view.error) if view.error else "it can be used"
    for each in view.issues:
        yield printable(f"  {each.path or 'the record'} is {each.value}, should be {each.rule}")
    yield printable(view.content)


@app.command
def mend(key: str, content: Content, /, *, digest: str, how: Changing = CHANGING) -> None:
    """Replace the bytes of a record by the content of a file, if the loading path accepts it.

    Args:
        key: The key of the record.
        content: A file with the record as JSON, with or without its checksum, or as an s-expression.
        digest: Of the bytes that `show` printed: others are not replaced.
        how: The options of every such command.
    """
    new = content.read_bytes()

    async def run(acting: Acting) -> "Outcome | None":
        from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - as above

        quarantine = _quarantine(acting)
        view = await quarantine.show(acting.by, key)
        error, issues = quarantine.judge(key, new)
        plan = [f"- {view.content}", f"+ {new.decode(errors='backslashreplace').strip()}"]
        plan += [f"refused: {error}"] if error else []
        plan += [f"  {each.path or 'the record'} is {each.value}, should be {each.rule}" for each in issues]
        if not await agreed(how, "mend the record", plan):
            return None
        act_id = how.id or new_act_id()
        return await quarantine.mend(acting.by, key, new, digest=digest, reason=how.reason, act_id=act_id)

    say_outcome(how, act(how, run))


@app.command
def discard(key: str, /, *, digest: str, how: Changing = CHANGING) -> None:
    """Delete a record that cannot be used, or a kept copy. A copy of the record's bytes stays for a week.

    Args:
        key: The key of the record, or of the copy.
        digest: Of the bytes that `show` printed: others are not deleted.
        how: The options of every such command.
    """

    async def run(acting: Acting) -> "Outcome | None":
        from realmkeep.operations.operators.acts import new_act_id  # noqa: PLC0415 - as above

        quarantine = _quarantine(acting)
        view = await quarantine.show(acting.by, key)
        if not await agreed(how, "discard it", [f"{key} is deleted: {view.error or 'it can be used'}"]):
            return None
        act_id = how.id or new_act_id()
        return await quarantine.discard(acting.by, key, digest=digest, reason=how.reason, act_id=act_id)

    say_outcome(how, act(how, run))
