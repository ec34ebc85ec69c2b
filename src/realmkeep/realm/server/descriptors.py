"""The system's limit of connections for this process: each connection is a file descriptor."""

import sys
from typing import Final

from realmkeep.realm.wire.tcp import CONNECTIONS_MAX

OF_OUR_OWN: Final = 64  # the store's sockets, files, threads' pipes, connections that are closing
MACOS_FILES_MAX: Final = 10_240  # OPEN_MAX: macOS says "unlimited" and refuses more than its kern.maxfilesperproc


def connections_max() -> int:
    """Raise the limit of file descriptors as far as possible; returns the number left for connections.

    If the system refuses (a sandbox) or has no such limit, the limit stays as it is.
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
    """Try several higher limits until the system accepts one; returns the soft limit in force."""
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
