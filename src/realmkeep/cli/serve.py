"""`realmkeep serve`: the reference game server."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


def serve(
    *,
    name: str | None = None,
    store: str | None = None,
    data: Path = Path("realm-data"),
    host: str = "127.0.0.1",
    tcp_port: Port = 7777,
    udp_port: Port = 7777,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    console: str | None = None,
    log_format: Literal["console", "json"] | None = None,
) -> None:
    """Run the reference game server until it is told to stop.

    Once it is ready, DATA/server.json has its addresses; a clean exit removes the file. SIGTERM or Ctrl-C saves all records
    and exits with 0; a second one ends the server at once. All other settings: realmkeep.toml or REALMKEEP_*.

    Args:
        name: The server's name; by default keeper.name. Each server of a realm has its own, and a directory of its own.
        store: URL of the store; by default from the settings, else an embedded one in DATA/store.
        data: The directory of the server's keys and its own store.
        host: A name or an address to listen on, with both transports; '' is every address of this machine.
        tcp_port: 0 picks a free one.
        udp_port: 0 picks a free one.
        tls_cert: PEM file of a certificate and its chain: TCP uses TLS, UDP does not.
        tls_key: PEM file of its key, if it is another file; a passphrase comes from network.tls_key_password_file.
        console: The address of the console, host:port; by default console.listen, and without it there is none.
        log_format: By default console on a terminal, otherwise JSON.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.realm.server.realm import ListenAddress  # noqa: PLC0415 - as above
    from realmkeep.realm.server.serve import ServeOptions, in_directory  # noqa: PLC0415 - as above
    from realmkeep.realm.server.serve import serve as run  # noqa: PLC0415 - as above

    paths = {"network.tls_cert": tls_cert, "network.tls_key": tls_key}
    flags = {key: None if path is None else str(path) for key, path in paths.items()}
    config = in_directory(config_with(store, **flags, **{"console.listen": console, "keeper.name": name}), data)
    sys.exit(run(ServeOptions(config, data, ListenAddress(host, tcp_port, udp_port), log_format)))
