"""A PostgreSQL for `./dev run --archive`: it ends with SIGTERM, and its files stay for the next run.

Run: `python -m realmkeep.testing.archive_server FILE`. FILE has its URL once it answers.
"""

import hashlib
import signal
import sys
import tempfile
from pathlib import Path

from realmkeep.testing.postgres_server import PostgresServer, find_postgres


def main() -> None:
    """Serve until SIGTERM or SIGINT; its directory is named after the working directory."""
    if find_postgres() is None:
        sys.exit("there is no PostgreSQL: ./dev setup")
    place = hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"realmkeep-archive-{place}"  # where the user `nobody` gets as well
    directory.mkdir(mode=0o755, exist_ok=True)
    stopping = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    with PostgresServer(directory=directory, settings={"fsync": "off"}) as server:  # a toy of this machine
        Path(sys.argv[1]).write_text(server.url, encoding="utf-8")
        signal.sigwait(stopping)


if __name__ == "__main__":
    main()
