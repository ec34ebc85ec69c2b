"""One drill: a store, its servers and a crowd; fault after fault; and the verdict on each."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.drill.checks import Stuck
from realmkeep.drill.checks.append_only_log import check_history, is_whole
from realmkeep.drill.checks.tiers import check_tiers
from realmkeep.drill.controls import CONTROLS, Control, is_caught
from realmkeep.drill.disk.disk_shim import DiskShim, find_compiler
from realmkeep.drill.faults import FAULTS, Fault, Harm, lacking
from realmkeep.drill.faults.stores import LOST
from realmkeep.drill.plan import DrillPlan, rounds_of
from realmkeep.drill.played import PlayedGame, own_game, studio_game
from realmkeep.drill.realm import Realm, open_realm
from realmkeep.drill.report import StoreReport, Verdict
from realmkeep.drill.stores.choose import StoreKind, store_kind
from realmkeep.drill.stores.external import ExternalStore
from realmkeep.drill.stores.store import Trait
from realmkeep.errors import ConfigError

FLUSH_S: Final = 2.0
BEFORE: Final = 20  # operations before the first fault
AFTER: Final = 20  # operations after each
RECOVERED: Final = 3  # operations that show that the realm goes on
TRIES: Final = 3  # of a fault that did not fire
ROUND_S_MAX: Final = 240.0
NAMES: Final = ("north", "south", "east", "west")
SILENT: Final = (
    "did not look for lost writes"  # of a server that stood still; the checks look for losses that follow from it
)
STORE_SIDE: Final = "network faults between servers and store"
SHORT: Final = {
    "flush_interval_s": FLUSH_S, "checkpoint_interval_s": 2 * FLUSH_S, "sweep_interval_s": FLUSH_S, "heartbeat_s": 0.4,
    "grace_s": 2.0, "tier1_rate_per_s": 1000.0, "pending_after_s": 0.5, "shutdown_deadline_s": 20.0,
    "strict": True,
}  # fmt: skip
Progress = Callable[[StoreReport, str], None]


class Outcome(NamedTuple):
    """The end of a drill.

    Attributes:
        report: The verdicts.
        history: Every answer and every fault, as lines of JSON, if anything was wrong; else empty.
    """

    report: StoreReport
    history: bytes


def short_times(config: KeeperConfig, *, lease_s: float) -> KeeperConfig:
    """Return an operator's settings with the intervals of a drill, which are short, and a lease that outlives a failover."""
    return msgspec.structs.replace(config, **SHORT | {"lease_ttl_s": lease_s})


class Drill:
    """The rounds of one realm.

    Args:
        realm: The realm, with its crowd.
        plan: The plan.
        report: Gets the verdicts.
        loss_s: The seconds of acknowledged operations that the store may lose with the power.
        progress: Called before and after each fault.
    """

    def __init__(self, realm: Realm, plan: DrillPlan, report: StoreReport, loss_s: float, progress: Progress) -> None:
        self._realm = realm
        self._plan = plan
        self._report = report
        self._loss_s = realm.told.window.power_loss_s = loss_s
        self._progress = progress
        self._has_whole_log = True

    async def run(self) -> None:
        """Play every round, and hold the store against the answers; the first violation ends it.

        Raises:
            Stuck: The realm does not go on.
        """
        realm = self._realm
        realm.crowd.start()
        await realm.play(BEFORE)
        watching = asyncio.create_task(self._watch())
        try:
            for names in rounds_of(self._plan, realm.traits):
                await self._round(names)
                if self._report.violations:
                    return
            await self._end()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        """Keep the clients connected, and note when this machine stands still: a promised window is of one that runs."""
        before_s = self._realm.clock.monotonic_s()
        while True:
            await self._realm.clock.sleep(0.05)
            await self._realm.connect_again()
            now_s = self._realm.clock.monotonic_s()
            self._realm.told.window.beat(before_s, now_s)
            before_s = now_s

    async def _round(self, names: tuple[str, ...]) -> None:
        realm, verdict = self._realm, Verdict()
        acknowledged, window = realm.told.acknowledgements, realm.told.window
        window.worst_s = 0.0
        self._progress(self._report, " with ".join(names))
        wrong: list[str] = []
        try:
            async with realm.clock.timeout(ROUND_S_MAX):
                verdict.evidence = await self._strike(names, verdict)
                wrong = await self._look(verdict)
        except (Stuck, TimeoutError) as error:
            wrong = [f"recovery: {' with '.join(names)}: {error or 'it did not end'}"]
        wrong += self._alarms(names)
        if wrong:
            realm.note_wrong(wrong)
        verdict.rounds, verdict.fired = 1, int(bool(verdict.evidence))
        verdict.mixed = int(len(names) > 1)
        verdict.acknowledged = realm.told.acknowledgements - acknowledged
        verdict.window_s = round(window.worst_s, 2)
        verdict.blame(wrong)
        self._report.violations += [f"{' with '.join(names)}: {each}" for each in wrong]
        for name in names:
            self._report.faults.setdefault(name, Verdict()).add(verdict)
        self._progress(self._report, "")

    async def _strike(self, names: tuple[str, ...], verdict: Verdict) -> str:
        """Strike until the measurements say that all of it happened; return them."""
        realm = self._realm
        for _ in range(TRIES):
            faults: list[Fault] = [FAULTS[name](realm) for name in names]
            realm.told.note(do="strike", faults=names)
            is_outage = any(fault.harm not in {Harm.SERVER, Harm.CLIENTS} for fault in faults)
            if is_outage:
                realm.told.window.away(realm.clock.monotonic_s())
            for fault in faults:
                await fault.begin()
            for fault in faults:
                await fault.end()
            ended_s = realm.clock.monotonic_s()
            await realm.connect_again()
            await realm.play(RECOVERED)
            now_s = realm.clock.monotonic_s()
            verdict.recovery_s = max(verdict.recovery_s, round(now_s - ended_s, 2))
            if is_outage:
                realm.told.window.back(now_s)
            if any(isinstance(fault, FAULTS["power-cut"]) or fault.expects for fault in faults):
                self._has_whole_log = False
            evidence = "; ".join(seen for fault in faults for seen in fault.evidence)
            realm.told.note(do="mended", faults=names, evidence=evidence)
            if all(fault.evidence for fault in faults):
                return evidence
        return ""

    async def _look(self, verdict: Verdict) -> list[str]:
        realm = self._realm
        if realm.told.power_lost_s and Trait.LOSSLESS not in realm.traits:
            verdict.power_s = round(realm.game.forgive(realm.told, realm.snapshot(), loss_s=self._loss_s), 2)
            realm.told.power_lost_s.clear()
        await realm.play(AFTER)
        return await realm.settled_wrong()

    def _alarms(self, names: tuple[str, ...]) -> list[str]:
        expected = [SILENT, *(words for name in names for words in FAULTS[name].expects)]
        if Trait.LOSSLESS not in self._realm.traits:
            expected += LOST
        return [
            f"recovery: {name} gave an alarm: {line}"
            for name, server in self._realm.servers.items()
            for line in server.alarms()
            if not any(words in line for words in expected)
        ]

    async def _end(self) -> None:
        """Let the realm come to rest, and look for the last time."""
        realm = self._realm
        self._progress(self._report, "the end")
        try:
            contents = await realm.calm_down(SILENT, *(() if Trait.LOSSLESS in realm.traits else LOST[:1]))
            wrong = realm.game.check(realm.told, contents, settled=True)
            if (
                self._has_whole_log
                and not realm.game.spec
                and Trait.COMMANDS in realm.traits
                and is_whole(realm.store.directory)
            ):
                wrong += await asyncio.to_thread(check_history, realm.store.directory, self._plan.bots)
            if realm.archive is not None:
                wrong += await check_tiers(realm.store.url, realm.archive.url, realm.clock)
        except Stuck as error:
            wrong = [f"recovery: {error}"]
        if wrong:
            realm.note_wrong(wrong)
        self._report.violations += [f"the end: {each}" for each in wrong]


async def run_drill(
    plan: DrillPlan, *, config: KeeperConfig | None = None, progress: Progress = lambda _report, _phase: None
) -> Outcome:
    """Run a drill on real processes, in a temporary directory.

    Args:
        plan: The plan.
        config: An operator's settings of keeping; the drill shortens the intervals.
        progress: Called before and after each fault, with the report so far.

    Raises:
        ConfigError: The plan has an unknown store or fault, or more servers than its store allows.
        StorageError: A store at a URL does not answer.
        StorageMisconfigured: A driver or a program is not installed.
    """
    kind = await asyncio.to_thread(store_kind, plan.store)
    _check(plan, kind)
    game_of(plan)  # before any process is started
    clock = SystemClock()
    began_s = clock.monotonic_s()
    report = StoreReport(kind.name, "", kind.loss_s == 0, [plan.seed], 0.0, 0, plan.bots, FLUSH_S, plan.game)
    history = b""
    with tempfile.TemporaryDirectory(prefix="rk-drill-") as directory, _shim(kind) as shim:
        opened = _Opening(plan, kind, Path(directory), config or KeeperConfig(), shim)
        try:
            async with opened.realm("drill") as realm:
                await _note_engine(report, realm)
                _note_not_run(report, plan, realm.traits)
                await Drill(realm, plan, report, kind.loss_s, progress).run()
                history = b"\n".join(map(msgspec.json.encode, realm.told.history)) if report.violations else b""
                traits = realm.traits
        except (Stuck, TimeoutError) as error:
            report.violations.append(f"recovery: {error or 'the drill did not end'}")
            traits = frozenset[Trait]()
        for name, control in CONTROLS.items():
            if plan.game and control.own_game:
                continue
            if control.needs <= traits and (not plan.faults or name in plan.faults) and not report.violations:
                progress(report, name)
                report.controls[name] = int(await _is_caught(opened, name, control)), 1
                progress(report, "")
    report.seconds = round(clock.monotonic_s() - began_s, 1)
    return Outcome(report, history)


async def _note_engine(report: StoreReport, realm: Realm) -> None:
    state = await realm.state(next(iter(realm.lines)))
    report.engine, report.servers = state["engine"], len(realm.servers)


def _note_not_run(report: StoreReport, plan: DrillPlan, traits: frozenset[Trait]) -> None:
    needs = {name: fault.needs for name, fault in FAULTS.items()}
    needs |= {name: control.needs for name, control in CONTROLS.items()}
    for name, needed in needs.items():
        if plan.game and name in CONTROLS and CONTROLS[name].own_game:
            report.not_run[name] = "it needs the drill's own game"
        if (not plan.faults or name in plan.faults) and not needed <= traits:
            report.not_run[name] = lacking(needed, traits)
    if Trait.SHARED in traits and Trait.LINK not in traits:
        report.not_run[STORE_SIDE] = lacking(frozenset({Trait.LINK}), traits)


async def _is_caught(opened: "_Opening", name: str, control: Control) -> bool:
    try:
        async with opened.realm(name, control.broken, patient=control.patient) as realm:
            realm.crowd.start()
            await realm.play(BEFORE)
            wrong = await control.run(realm)
    except (Stuck, TimeoutError) as error:
        wrong = [f"recovery: {error or 'it did not end'}"]
    if not (caught := is_caught(control, wrong)):
        sys.stderr.write(f"{name} was not caught; the checks say: {wrong or 'nothing'}\n")
    return caught


class _Opening:
    """Opens realms of one plan, each with a store of its own."""

    def __init__(
        self, plan: DrillPlan, kind: StoreKind, directory: Path, config: KeeperConfig, shim: DiskShim | None
    ) -> None:
        self._plan = plan
        self._kind = kind
        self._directory = directory
        self._config = short_times(config, lease_s=kind.lease_s)
        self._shim = shim
        servers = plan.servers or kind.servers
        self._names = tuple(NAMES[n] if n < len(NAMES) else f"server-{n + 1}" for n in range(servers))

    @asynccontextmanager
    async def realm(self, name: str, broken: str = "", *, patient: bool = False) -> AsyncGenerator[Realm]:
        """Open a realm in a directory of this name."""
        plan = self._plan
        directory = self._directory / name
        directory.mkdir(mode=0o700)
        game = game_of(plan)
        network = not broken and any(
            fault.harm is Harm.NETWORK for each, fault in FAULTS.items() if not plan.faults or each in plan.faults
        )
        limit_s = ROUND_S_MAX * (2 + (plan.rounds or len(FAULTS)))
        async with open_realm(
            directory, seed=plan.seed, names=self._names, config=self._config, store_options="" if patient else self._kind.options,
            mutant=broken, make_store=self._kind.make, game=game, bots=plan.bots, shim=self._shim, network=network,
            limit_s=limit_s, archived=plan.archive,
        ) as realm:  # fmt: skip
            if isinstance(realm.store, ExternalStore):
                await asyncio.to_thread(realm.store.check_empty, game.keys)
            yield realm


def game_of(plan: DrillPlan) -> PlayedGame:
    """Return the game of a plan.

    Raises:
        ConfigError: It names no driver.
    """
    return studio_game(plan.game, plan.bots) if plan.game else own_game(plan.bots)


def _check(plan: DrillPlan, kind: StoreKind) -> None:
    known = [*FAULTS, *CONTROLS]
    if unknown := [name for name in plan.faults if name not in known]:
        raise ConfigError(f"there is no fault {unknown[0]!r:.60}", hint=f"the faults: {', '.join(known)}")
    if kind.servers_max and plan.servers > kind.servers_max:
        raise ConfigError(
            f"{plan.store} has one server, and --servers asks for {plan.servers}", hint="a store that servers can share"
        )


@contextmanager
def _shim(kind: StoreKind) -> Generator[DiskShim | None]:
    """Put a shim between the store and its disk, where there is a compiler; its variables go to every process."""
    if not kind.shim_files or find_compiler() is None:
        yield None
        return
    before = dict(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="rk-shim-") as directory,  # the user of a store's processes can enter it
        DiskShim(Path(directory), files=kind.shim_files, clock=kind.shim_clock, owner=kind.user) as shim,
    ):
        os.environ.update(shim.environment)
        try:
            yield shim
        finally:
            os.environ.clear()
            os.environ.update(before)
