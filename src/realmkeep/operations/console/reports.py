"""Reports that read a whole store, an archive or a backup: each is a command in a child process, started by an operator."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.operations.child_process import PROGRAM, ChildProcess, child_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.config import Config

log = logging.getLogger(__name__)

AT_ONCE: Final = 2  # child processes
KEPT_MAX: Final = 32  # results
SAID_BYTES_MAX: Final = 8 * 1024 * 1024
GOOD_CODES: Final = frozenset({0, 1})  # 1: the report has findings


@dataclass(eq=False)
class Report:
    """One report.

    Attributes:
        began_us: When it was started, in microseconds since the Unix epoch.
        running: It is under way.
        result: Its result, as JSON's types; None if there is none.
        trouble: Why there is none.
    """

    began_us: int
    running: bool = True
    result: Any = None
    trouble: str = ""


class Reports:
    """The reports of one console.

    Args:
        config: The settings; the child processes read the same sources, and the same store.
        clock: The clock.
        background: Runs them.
    """

    def __init__(self, config: Config, clock: Clock, background: Background) -> None:
        self._environment = child_environment(config)
        self._clock = clock
        self._background = background
        self._kept: dict[tuple[str, ...], Report] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def latest(self, *arguments: str) -> Report | None:
        """The report of a command, which may be under way; None if it was never started, or was long ago."""
        return self._kept.get(arguments)

    def start(self, *arguments: str) -> Report:
        """Start a command that prints JSON, unless it is under way; returns its report.

        Args:
            arguments: Those of `realmkeep`, without `--json`. None is secret: others could read it.
        """
        found = self._kept.pop(arguments, None)
        if found is None or not found.running:
            found = Report(self._clock.wall_us())
            self._background.run(f"report {' '.join(arguments)}", self._run(arguments, found))
        self._kept[arguments] = found
        for name in [name for name, each in self._kept.items() if not each.running][:-KEPT_MAX]:
            del self._kept[name]
        return found

    async def _run(self, arguments: Sequence[str], report: Report) -> None:
        async with self._turns:
            child = ChildProcess([*PROGRAM, *arguments, "--json"], self._environment)
            try:
                ended = await asyncio.to_thread(child.run)
            except OSError as error:
                report.trouble = f"the child process cannot be started: {error.strerror}"
                return
            except BaseException:
                await asyncio.shield(asyncio.to_thread(child.end))
                raise
            finally:
                report.running = False
        if ended.code not in GOOD_CODES or len(ended.said) > SAID_BYTES_MAX:
            report.trouble = ended.reason or "the child process said too much"
            return
        try:
            report.result = msgspec.json.decode(ended.said)
        except msgspec.DecodeError:
            report.trouble = ended.reason or "the child process said nothing"
