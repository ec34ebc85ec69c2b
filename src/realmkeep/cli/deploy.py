"""`realmkeep deploy`: the files of a deployment."""

import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule

from realmkeep.cli.exit_codes import exit_codes
from realmkeep.storage.embedded_config import MAXMEMORY_BYTES, MAXMEMORY_BYTES_MIN, Fsync

MIB: Final = 1024**2
LISTEN: Final = "127.0.0.1:9464"
_Flag = Annotated[bool, Parameter(negative="")]

app = App(name="deploy", help="The files of a deployment.")


@app.command
def write(
    directory: Annotated[Path, Parameter(validator=PathRule(file_okay=False))],
    /,
    *,
    maxmemory_mb: Annotated[int, Parameter(validator=Number(gte=MAXMEMORY_BYTES_MIN // MIB))] = MAXMEMORY_BYTES // MIB,
    fsync: Fsync = "always",
    user: str = "realmkeep",
    venv: str = "/opt/realmkeep",
    valkey: str = "/usr/bin/valkey-server",
    listen: str = LISTEN,
    force: _Flag = False,
    json: _Flag = False,
) -> None:
    """Write the files of a deployment into a directory: nothing is installed, and nothing is started.

    They are valkey.conf; systemd units of store, server and backups; a line for cron; the scrape, rules and dashboard of
    Prometheus and Grafana; Dockerfile, compose file and Kubernetes manifests. Its README.md says how to install them.

    A file that was changed since it was written is not overwritten: then nothing is written, and the exit code is 1.

    Args:
        directory: The directory; made if absent.
        maxmemory_mb: The size from which the store refuses writes.
        fsync: always: on disk before the answer. everysec: within about two seconds after it.
        user: The system's user of the server and the store.
        venv: The virtual environment of the server on its machine.
        valkey: The program of the store on its machine.
        listen: The address of metrics and health on that machine: operations.listen.
        force: Overwrite changed files, too; each is kept as NAME.before.
        json: Print JSON instead of lines.
    """
    from realmkeep.operations.deploy import Deployment, deployment_files, write_files  # noqa: PLC0415 - imported on use

    with exit_codes():
        deployment = Deployment(
            maxmemory_bytes=maxmemory_mb * MIB, fsync=fsync, user=user, venv=venv, valkey=valkey, listen=listen
        )
        written = write_files(directory, deployment_files(deployment), force=force)
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(written)).decode() + "\n")
        return
    for each in written:
        sys.stdout.write(f"{each.state:<12}{each.path}\n")
    sys.stdout.write(f"{directory / 'README.md'} says how to install them\n")
