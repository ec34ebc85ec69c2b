"""`realmkeep crowd`: bots play, then a check shows whether anything was lost or doubled."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter
from cyclopts.validators import Number

Count = Annotated[int, Parameter(validator=Number(gte=1, lte=5000))]
Seconds = Annotated[float, Parameter(validator=Number(gt=0))]


def crowd(
    *,
    bots: Count = 200,
    duration: Seconds = 60.0,
    host: str | None = None,
    tcp_port: int | None = None,
    udp_port: int | None = None,
    data: Path = Path("realm-data"),
    gateway: bool = False,
    udp: bool = False,
    tls: bool = False,
    tls_ca: Path | None = None,
    sealed: bool = False,
    lisp: bool = False,
    json: bool = False,
    journal: Path | None = None,
    name: str = "",
    seed: int = 0,
) -> None:
    """Let bots walk, fight, loot, shop, bank, trade, quest, and drop their connections; then check that all is conserved.

    Exits with 1 if property was lost or doubled, or if the server does not come back.

    Args:
        bots: Number of bots.
        duration: Playing time in seconds, after the last login.
        host: The server's host; default: the one in DATA/server.json.
        tcp_port: The server's TCP port; default: as above.
        udp_port: The server's UDP port; default: as above.
        data: The directory of a server on this machine.
        gateway: The address is that of a gateway; a server.json of a gateway says so itself.
        udp: Use UDP instead of TCP.
        tls: Use TLS over TCP; a server on this machine is trusted by its own certificate.
        tls_ca: PEM file of the authority to trust, instead of the system's.
        sealed: Seal the credentials.
        lisp: Write s-expressions instead of JSON.
        json: Print the report as JSON, without a progress bar.
        journal: Append every acknowledged tier-1 operation to this file, as JSON lines.
        name: Prefix of the bots' names; bots of an earlier run log in again. Default: a new prefix.
        seed: Seed of the bots' choices.

    Raises:
        ConfigError: There is no address and no server runs in `data`, or the authority cannot be read.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - a command imports what it needs when it runs
    from realmkeep.crowd.client import Disconnected, RealmAddress, client_tls_context  # noqa: PLC0415 - as above
    from realmkeep.crowd.run import CrowdPlan, run_crowd  # noqa: PLC0415 - as above
    from realmkeep.crowd.show import print_report, progress_bar  # noqa: PLC0415 - as above
    from realmkeep.errors import ConfigError  # noqa: PLC0415 - as above
    from realmkeep.realm.server.server_file import SERVER_FILE, read_server_file  # noqa: PLC0415 - as above

    own_cert: str | None = None
    through = gateway
    if host is None or (udp_port if udp and not gateway else tcp_port) is None:
        told = read_server_file(data)
        if told is None:
            raise ConfigError(
                f"no realm was found: there is no {data / SERVER_FILE}",
                hint="start `realmkeep serve`, or give --host and a port",
            )
        own_cert, through = told.tls_cert, gateway or told.gateway
        host, tcp_port, udp_port = host or told.host, tcp_port or told.tcp, udp_port or told.udp
    context = client_tls_context(tls_ca, own_cert) if tls or tls_ca is not None or own_cert is not None else None
    server = RealmAddress(
        host, tcp_port or 0, udp_port or 0, udp=udp, sealed=sealed, lisp=lisp, tls=context, gateway=through
    )
    plan = CrowdPlan(bots, duration, name, journal, seed)
    try:
        with progress_bar(quiet=json or not sys.stderr.isatty()) as progress:
            report = asyncio.run(run_crowd(server, plan, SystemClock(), progress))
    except* Disconnected as gone:
        sys.exit(f"realmkeep: the crowd ends: {_first(gone)}")
    print_report(report, as_json=json)
    sys.exit(1 if report.problems else 0)


def _first(error: BaseException) -> BaseException:
    """The first error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
