"""`realmkeep dev-cluster`: a cluster on this machine, for development."""

import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule

PORT = 7001
PORT_MAX = 55_529  # six ports, and the bus of each 10,000 above


def dev_cluster(
    directory: Annotated[Path, Parameter(validator=PathRule(file_okay=False))],
    /,
    *,
    port: Annotated[int, Parameter(validator=Number(gte=1024, lte=PORT_MAX))] = PORT,
) -> None:
    """Run a cluster of six servers on this machine until Ctrl-C or SIGTERM: three primaries, each with a replica.

    It is for development: the servers listen on loopback, ask for no password, and share one disk. A directory of an earlier
    run is used again, with the same --port.

    Args:
        directory: The directory of their files; made if absent.
        port: The first of six ports; the bus of each lies 10,000 above.

    Raises:
        StorageUnavailable: A server does not start, or the cluster is not complete within a minute.
    """
    from realmkeep.errors import StorageUnavailable  # noqa: PLC0415 - a command imports what it needs when it runs
    from realmkeep.testing.replicated import LocalCluster  # noqa: PLC0415 - as above

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    cluster = LocalCluster(directory.absolute(), port=port)
    try:
        with cluster:
            sys.stdout.write(
                f"six servers of a cluster on ports {port} to {port + len(cluster.nodes) - 1}; Ctrl-C stops them\n"
                f"store.url   {cluster.url('REALM')}   (any name for REALM)\n"
            )
            sys.stdout.flush()
            while True:
                signal.pause()
    except TimeoutError as error:
        raise StorageUnavailable(
            f"the cluster in {directory} does not start: {_last_words(str(error))}",
            hint="is it running already, or a port in use? A directory of another --port must be emptied",
        ) from error


def _last_words(log: str) -> str:
    lines = [line for line in log.splitlines() if line]
    return lines[-1].rpartition(" # ")[2] if lines else log


def _stop(_number: int, _frame: object) -> None:
    sys.exit(0)
