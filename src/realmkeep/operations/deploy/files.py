"""The files of a deployment, made from templates and from the store's own configuration."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import msgspec

from realmkeep.errors import ConfigError
from realmkeep.operations.doctor.machine import MEMORY_SHARE_MAX
from realmkeep.storage.embedded_config import MAXMEMORY_BYTES, Fsync, StoreSettings, configuration

MIB: Final = 1024**2
STATE: Final = "/var/lib/realmkeep"
STORE: Final = f"{STATE}/store"
SOCKET: Final = "/run/realmkeep/store.sock"
CONTAINER_UID: Final = 10_001  # no user of a usual image or machine has it
STORAGE_FACTOR: Final = (
    10  # of maxmemory: append-only file and snapshot, each twice for a moment, and compressed backups
)
SERVER_MB: Final = 2048  # the game itself, with its players in memory
WATCHED: Final = ("grafana/realmkeep.dashboard.json", "prometheus/realmkeep.rules.yml")  # of operations/metrics
_TOKEN: Final = re.compile(r"@([A-Z_]+)@")
_PATH: Final = re.compile(r"/[A-Za-z0-9._/+-]+")
_ADDRESS: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The values in which deployments differ.

    Attributes:
        maxmemory_bytes: The size from which the store refuses writes.
        fsync: As in `StoreSettings`.
        user: The system's user of the server and the store.
        venv: The virtual environment of the server, an absolute path.
        valkey: The program of the store, an absolute path.
        listen: The address of metrics and health on a machine, `host:port`.
    """

    maxmemory_bytes: int = MAXMEMORY_BYTES
    fsync: Fsync = "always"
    user: str = "realmkeep"
    venv: str = "/opt/realmkeep"
    valkey: str = "/usr/bin/valkey-server"
    listen: str = "127.0.0.1:9464"


def deployment_files(deployment: Deployment) -> dict[str, str]:
    """Return the text of each file by its path below the directory of the deployment.

    Raises:
        ConfigError: A value would be another word, or several, in one of the files.
    """
    _check(deployment)
    store = configuration(
        StoreSettings(STORE, SOCKET, maxmemory_bytes=deployment.maxmemory_bytes, fsync=deployment.fsync)
    )
    values = _values(deployment, store)
    found = {
        path: filled(text, values) for path, text in _templates(files("realmkeep.operations.deploy") / "templates")
    }
    metrics = files("realmkeep.operations") / "metrics"
    watched = {path: (metrics / path.rpartition("/")[2]).read_text(encoding="utf-8") for path in WATCHED}
    return {"valkey.conf": store, **found, **watched}


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with each `@NAME@` replaced by its value.

    Raises:
        KeyError: A name has no value.
    """
    return _TOKEN.sub(lambda token: values[token[1]], template)


def _values(deployment: Deployment, store: str) -> dict[str, str]:
    maxmemory_mb = deployment.maxmemory_bytes // MIB
    return {
        "LISTEN": deployment.listen,
        "MEMORY_MB": str(int(maxmemory_mb / MEMORY_SHARE_MAX) + 1),
        "PORT": deployment.listen.rpartition(":")[2],
        "SERVER_MB": str(SERVER_MB + int(maxmemory_mb / MEMORY_SHARE_MAX)),
        "SOCKET": SOCKET,
        "STATE": STATE,
        "STORAGE_GB": str(-(-STORAGE_FACTOR * maxmemory_mb // 1024)),
        "UID": str(CONTAINER_UID),
        "USER": deployment.user,
        "VALKEY": deployment.valkey,
        "VALKEY_CONF": textwrap.indent(store, " " * 4).rstrip("\n"),
        "VENV": deployment.venv,
        "VERSION": version("realmkeep"),
    }


def _templates(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir():
            yield from _templates(each, f"{below}{each.name}/")
        else:
            yield f"{below}{each.name}", each.read_text(encoding="utf-8")


def _check(deployment: Deployment) -> None:
    if not _ADDRESS.fullmatch(deployment.listen):
        raise ConfigError(f"--listen {deployment.listen!r} is not an address", hint="host:port, such as 127.0.0.1:9464")
    for name, value in (("venv", deployment.venv), ("valkey", deployment.valkey)):
        if not _PATH.fullmatch(value):
            raise ConfigError(
                f"--{name} {value!r} cannot stand in a unit file", hint="an absolute path of A-Z, a-z, 0-9 and ._+-/"
            )
    if not _USER.fullmatch(deployment.user):
        raise ConfigError(
            f"--user {deployment.user!r} is not the name of a system's user",
            hint="such as realmkeep: a-z, 0-9, _ and -",
        )
