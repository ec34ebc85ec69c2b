"""`realmkeep gateway`: sends clients to the servers of a realm."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


def gateway(
    *servers: str,
    store: str | None = None,
    data: Path = Path("gateway-data"),
    host: str = "127.0.0.1",
    tcp_port: Port = 7770,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    log_format: Literal["console", "json"] | None = None,
) -> None:
    """Send each client of a realm to the server that has its player, until it is told to stop.

    Once it is ready, DATA/server.json has its address. It keeps nothing: any number of gateways may run.

    Args:
        servers: The names of the realm's servers (`serve --name`).
        store: URL of the store that the servers share; by default from the settings.
        data: The directory of its server.json.
        host: A name or an address to listen on; '' is every address of this machine.
        tcp_port: 0 picks a free one.
        tls_cert: PEM file of a certificate and its chain.
        tls_key: PEM file of its key, if it is another file.
        log_format: By default console on a terminal, otherwise JSON.

    Raises:
        ConfigError: No server is named.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.errors import ConfigError  # noqa: PLC0415 - as above
    from realmkeep.realm.gateway.serve import GatewayOptions, serve_gateway  # noqa: PLC0415 - as above

    if not servers:
        raise ConfigError("a gateway without servers", hint="name them: realmkeep gateway north south")
    paths = {"network.tls_cert": tls_cert, "network.tls_key": tls_key}
    flags = {key: None if path is None else str(path) for key, path in paths.items()}
    serve_gateway(GatewayOptions(config_with(store, **flags), data, servers, host, tcp_port, log_format))
