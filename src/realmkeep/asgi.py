"""A keeper inside an ASGI server: opened before the first request, closed after the last, with an exit code.

uvicorn takes SIGTERM, lets the application end, and raises the signal again. The process then dies of it, and its exit code
cannot say whether all records were saved. `AsgiKeeper` prevents that. It needs no web framework: Starlette and FastAPI take its
lifespan, and a program calls its `run`.
"""

import logging
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from realmkeep.keeping import CloseReport, Keeper

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class AsgiKeeper:
    """The keeper of a web application.

    ```python
    kept = AsgiKeeper(lambda: Keeper.open(url, hooks=hooks), ready=recover)
    app = Starlette(routes=..., lifespan=kept.lifespan)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on"))
    sys.exit(kept.run(server.run))
    ```

    Args:
        open: Opens the keeper; called when the server starts.
        ready: Awaited with the keeper before the first request, for example to `recover`.

    Attributes:
        report: The keeper's report at its close; None before that, and if the keeper never opened.
    """

    def __init__(
        self,
        open: Callable[[], Awaitable[Keeper]],  # noqa: A002 - the obvious name
        *,
        ready: Callable[[Keeper], Awaitable[object]] | None = None,
    ) -> None:
        self._open = open
        self._ready = ready
        self._keeper: Keeper | None = None
        self.report: CloseReport | None = None

    @property
    def keeper(self) -> Keeper:
        """The keeper, while the application runs.

        Raises:
            LookupError: The application is not running; requests arrive only while it is.
        """
        if self._keeper is None:
            raise LookupError("the application is not running: its lifespan has not begun, or is over")
        return self._keeper

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncGenerator[dict[str, Any]]:
        """Open the keeper, and close it at the end, however the server ends; `request.state.keeper` has it meanwhile.

        Args:
            _app: The application, as ASGI frameworks pass it.

        Raises:
            RealmkeepError: The keeper cannot be opened. Give uvicorn `lifespan="on"`, so that it does not start then.
        """
        keeper = await self._open()
        try:
            if self._ready is not None:
                await self._ready(keeper)
            self._keeper = keeper
            yield {"keeper": keeper}
        finally:
            self._keeper = None
            self.report = await keeper.close()
            if not self.report.clean:
                log.critical("%d records could not be saved: %s", len(self.report.rescued), self.report)

    def run(self, serve: Callable[[], object]) -> int:
        """Run a server until it ends, and return the exit code for `sys.exit`: 0 if all records are saved, else 1.

        A stop signal that the server raises again after its end has no effect. Call it in the main thread. Exceptions of
        `serve` pass through, such as uvicorn's exit with 3 if the application cannot start.

        Args:
            serve: Runs the server and returns at its end, such as `uvicorn.Server(...).run`.
        """
        with _signals_that_do_nothing():
            serve()
        return 0 if self.report is not None and self.report.clean else 1


@contextmanager
def _signals_that_do_nothing() -> Generator[None]:
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
