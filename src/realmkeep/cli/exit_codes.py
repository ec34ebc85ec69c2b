"""The exit codes of the operators' commands, as in sysexits.h."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from realmkeep.errors import (
    ActPending,
    ApprovalNeeded,
    AuthFailed,
    ConfigError,
    JournalUnavailable,
    StorageError,
    StorageMisconfigured,
)

FINDINGS: Final = 1  # or a failure
USAGE: Final = 2
UNAVAILABLE: Final = 69  # the store does not answer
TRY_LATER: Final = 75
MISCONFIGURED: Final = 78


@contextmanager
def exit_codes() -> Generator[None]:
    """End the program for an error of the settings or the store, with one line and its code.

    The codes are `MISCONFIGURED` for settings and stores that have to be changed first, and `UNAVAILABLE` for a store that
    does not answer, `TRY_LATER` for an act whose outcome is not known yet and a login that has to wait. All other errors pass.
    """
    try:
        yield
    except (ConfigError, StorageMisconfigured) as error:
        _end(error, MISCONFIGURED)
    except (StorageError, JournalUnavailable) as error:
        if not error.retryable:
            raise
        _end(error, UNAVAILABLE)
    except (ActPending, ApprovalNeeded) as error:
        _end(error, TRY_LATER)
    except AuthFailed as error:
        if error.reason != "throttled":
            raise
        _end(error, TRY_LATER)


def _end(error: Exception, code: int) -> None:
    sys.stderr.write(f"realmkeep: {error}\n")
    sys.exit(code)
