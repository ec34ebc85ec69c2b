"""`realmkeep drill`: breaks real servers and stores under a crowd, and says what was lost."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from realmkeep.cli.exit_codes import FINDINGS, exit_codes

if TYPE_CHECKING:
    from realmkeep.drill.drill import Outcome
    from realmkeep.drill.plan import DrillPlan

_Count = Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))]
_Bots = Annotated[int, Parameter(validator=Number(gte=2, lte=200))]
_Servers = Annotated[int, Parameter(validator=Number(gte=1, lte=8))]


def drill(
    *,
    store: str = "embedded",
    faults: str = "all",
    rounds: _Count | None = None,
    seed: int = 1,
    bots: _Bots = 6,
    servers: _Servers | None = None,
    game: str = "",
    archive: Annotated[bool, Parameter(negative="")] = False,
    json: Path | None = None,
) -> None:
    """Break real servers and stores under a crowd, and hold their answers against what the store kept.

    Everything runs in a temporary directory. The intervals of the settings are shortened, the other settings of [keeper]
    hold. The page docs/drill.md has the faults, the checks and the controls.

    Exits with 0 if every promise was kept, with 1 at the first violation or a control that was not caught. Then it prints the
    line that plays the drill again, and writes the history of every answer to realmkeep-drill-SEED.jsonl.

    Args:
        store: embedded, sqlite, redis-always, redis-everysec, redis-cluster, redis-sentinel, postgresql: stores that the drill starts itself; or the URL of
            an empty store that runs, whose process the drill cannot break.
        faults: The names of faults and controls, between commas; all: every one that is possible on this store.
        rounds: Number of faults; by default each once. Further ones are chosen by the seed, alone or two at once.
        seed: Decides order, mixture, victims and players.
        bots: Number of players.
        servers: Number of game servers; by default two where servers can share the store, else one.
        game: module:attribute of the driver of your own game, which `realmkeep.testing.drill` describes; by default the
            drill's own game.
        archive: Let a PostgreSQL follow the store as its cold tier, break it as well, and compare both tiers at the end.
        json: A file to which the results are added.
    """
    from realmkeep.drill.plan import DrillPlan  # noqa: PLC0415 - a command imports its modules when it runs

    chosen = () if faults == "all" else tuple(filter(None, (name.strip() for name in faults.split(","))))
    plan = DrillPlan(store, chosen, rounds or 0, seed, bots, servers or 0, game, archive)
    with exit_codes():
        outcome = _run(plan)
    history = f"realmkeep-drill-{seed}.jsonl" if outcome.history else ""
    if history:
        Path(history).write_bytes(outcome.history)
    if json is not None:
        _add(outcome, json)
    from realmkeep.drill.show import print_verdict  # noqa: PLC0415 - as above

    print_verdict(outcome.report, plan.replay, history)
    sys.exit(FINDINGS if outcome.report.failed else 0)


def _run(plan: "DrillPlan") -> "Outcome":
    from realmkeep import load_config  # noqa: PLC0415 - as above
    from realmkeep.drill.drill import run_drill  # noqa: PLC0415 - as above
    from realmkeep.drill.show import live_table  # noqa: PLC0415 - as above

    with live_table(quiet=False) as show:
        return asyncio.run(run_drill(plan, config=load_config().keeper, progress=show))


def _add(outcome: "Outcome", path: Path) -> None:
    from realmkeep.drill.report import add_to_results  # noqa: PLC0415 - as above

    path.write_bytes(add_to_results(path.read_bytes() if path.exists() else b"", outcome.report))
