"""A live line at the bottom of a terminal, with the logs above it."""

import logging
import os
from threading import Lock
from typing import IO, Final

ERASE_LINE: Final = "\r\x1b[2K"
COLUMNS_USUAL: Final = 80  # for a terminal that does not report its width


class LiveLine:
    """The last line of a terminal; other output goes above it.

    Args:
        stream: A terminal.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._lock = Lock()  # a thread may log while the loop updates the line

    def show(self, text: str) -> None:
        """Replace the live line with `text`."""
        with self._lock:
            self._text = text
            self._write("")

    def above(self, lines: str) -> None:
        """Write permanent lines, and the live line below them again."""
        with self._lock:
            self._write(lines + "\n")

    def _write(self, lines: str) -> None:
        """Write with one call, so that the output of other programs comes before or after it."""
        self._stream.write(ERASE_LINE + lines + self._fitting())
        self._stream.flush()

    def _fitting(self) -> str:
        """The text, cut to the present width: a wrapped line cannot be erased."""
        columns = os.get_terminal_size(self._stream.fileno()).columns or COLUMNS_USUAL
        return self._text if len(self._text) < columns else self._text[: max(0, columns - 2)] + "…"


def flush_or_discard(stream: IO[str]) -> None:
    """Flush a stream; if its terminal is gone, discard the rest, which would make Python exit with 120."""
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
        """Write one entry; a failure goes to `handleError` of logging and never to the game."""
        try:
            self._line.above(self.format(record))
        except OSError:
            self.handleError(record)
