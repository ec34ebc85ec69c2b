"""How many connections the system lets this process have: each is a file descriptor."""

import sys
from typing import Final

from realmkeep.realm.wire.tcp import CONNECTIONS_MAX

OF_OUR_OWN: Final = 64  # the store's sockets, files, threads' pipes, what is being closed
MACOS_FILES_MAX: Final = 10_240  # OPEN_MAX: macOS says "unlimited" and refuses more than its kern.maxfilesperproc


def connections_max() -> int:
    """Raise the limit of descriptors as far as it goes, and return what is then left for connections.

    A system that does not let it be raised (a sandbox) or does not know it is no reason not to serve: then it is as it is.
    """
    if sys.platform == "win32":
        return CONNECTIONS_MAX
    try:
        import resource  # noqa: PLC0415 - POSIX only, and not in every build

        limit = _raised()
    except (ImportError, OSError, ValueError):
        return CONNECTIONS_MAX
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, limit - OF_OUR_OWN))


def _raised() -> int:
    """The soft limit, after the first of several attempts to raise it that the system does not refuse."""
    import resource  # noqa: PLC0415 - as above

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = CONNECTIONS_MAX + OF_OUR_OWN
    for target in (hard, wanted, MACOS_FILES_MAX):
        is_more = soft != unlimited and (target == unlimited or target > soft)
        if is_more and (hard == unlimited or target <= hard):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            except (OSError, ValueError):
                continue
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
