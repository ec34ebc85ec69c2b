"""One live line at the foot of a terminal, and the logs above it."""

import logging
import os
from threading import Lock
from typing import IO, Final

ERASE_LINE: Final = "\r\x1b[2K"
COLUMNS_USUAL: Final = 80  # of a terminal that does not know its own width


class LiveLine:
    """The last line of a terminal; whatever else is written there goes above it.

    Args:
        stream: A terminal.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._lock = Lock()  # a thread may log while the loop shows

    def show(self, text: str) -> None:
        """Write `text` in place of what stood there."""
        with self._lock:
            self._text = text
            self._write("")

    def above(self, lines: str) -> None:
        """Write lines that stay, and the live line below them again."""
        with self._lock:
            self._write(lines + "\n")

    def _write(self, lines: str) -> None:
        """With one call: what another program writes to the terminal comes before it or after it."""
        self._stream.write(ERASE_LINE + lines + self._fitting())
        self._stream.flush()

    def _fitting(self) -> str:
        """Cut to the width of this moment: a line that wraps cannot be erased."""
        columns = os.get_terminal_size(self._stream.fileno()).columns or COLUMNS_USUAL
        return self._text if len(self._text) < columns else self._text[: max(0, columns - 2)] + "…"


def flush_or_discard(stream: IO[str]) -> None:
    """Write what is left; where the terminal is gone, drop it, or Python would end with 120 for what it could not write."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class LiveLineHandler(logging.Handler):
    """Writes log entries above a live line."""

    def __init__(self, line: LiveLine) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Write one entry; a terminal that is gone is logging's to report, never the game's to stumble over."""
        try:
            self._line.above(self.format(record))
        except OSError:
            self.handleError(record)
