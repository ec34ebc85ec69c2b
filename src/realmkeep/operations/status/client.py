"""Finds the operator's port of a server, and asks it for the report."""

import http.client
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from realmkeep.config import Config
from realmkeep.errors import ConfigError, RealmkeepError
from realmkeep.files import read_file
from realmkeep.operations.status.report import StatusReport

SERVER_FILE: Final = "server.json"
ANSWER_S_MAX: Final = 5.0
REPORT_BYTES_MAX: Final = 1024 * 1024


class NoServer(RealmkeepError):
    """No server of a realm answers at an address."""


class _ServerFile(msgspec.Struct):
    operations: str | None = None


def find_port(address: str | None, data: Path, config: Config) -> str:
    """The `host:port` to ask: the address as typed, else that of the server of a directory, else that of the settings.

    Args:
        address: `host:port`, or a URL of it; None if none was typed.
        data: The directory of a server on this machine.
        config: The settings.

    Raises:
        ConfigError: No address is known, or the one that was typed is none.
        FileRefused: Another user could have written the file of the server.
    """
    if address is not None:
        return _typed(address)
    try:
        told = msgspec.json.decode(read_file(data / SERVER_FILE), type=_ServerFile).operations
    except (FileNotFoundError, msgspec.DecodeError):
        told = None
    if told:
        return told
    listen = config.operations.listen
    if not listen or listen.endswith(":0"):
        raise ConfigError(
            f"no address is known: {data / SERVER_FILE} names none, and operations.listen is {listen!r}",
            hint="name it: host:port; or the directory of the server: --data",
        )
    return listen


def _typed(address: str) -> str:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme == "http" and parts.hostname and parts.port:
            return parts.netloc
    except ValueError:
        pass  # a port that is no number, or a bracket that is not closed
    raise ConfigError(f"{address!r} is no address of a server", hint="host:port, such as 127.0.0.1:9464")


def fetch_report(port: str) -> StatusReport:
    """The report of the server at `host:port`. Blocks, for five seconds at most.

    Raises:
        NoServer: No server of a realm answers there.
    """
    parts = urlsplit(f"http://{port}")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        body = answer.read(REPORT_BYTES_MAX)
        if answer.status != http.client.OK:
            raise NoServer(f"{port} answers with {answer.status}: it is no realm's port", hint="name another address")
        return msgspec.json.decode(body, type=StatusReport)
    except (OSError, http.client.HTTPException) as error:
        raise NoServer(
            f"no server answers at {port}: {error or type(error).__name__}",
            hint="start it, or name its address: operations.listen",
        ) from error
    except msgspec.DecodeError as error:
        raise NoServer(f"{port} sends no report of a realm: {error}", hint="name another address") from error
    finally:
        connection.close()
