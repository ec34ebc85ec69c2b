"""The address of a Postgres store, parsed from a URL; its `repr` shows no secrets.

The URL is libpq's own: every keyword of libpq may stand in its query, and what the URL leaves out comes from the environment
(`PGHOST`, `PGSERVICE`, `PGPASSFILE`) and from libpq's files (`pg_service.conf`, `~/.pgpass`), as for `psql`.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urlencode

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

from realmkeep.errors import ConfigError, FileRefused, StorageMisconfigured
from realmkeep.files import read_secret
from realmkeep.storage.urls import options_of

TIMEOUT_S: Final = 10.0  # a stalled disk may take seconds; a dead peer should not take a minute
CONNECT_TIMEOUT_S: Final = 5  # libpq counts whole seconds
TIMEOUT_S_MIN: Final = 0.01
TIMEOUT_S_MAX: Final = 3600.0
_WHOLE_SECONDS: Final = re.compile("[1-9][0-9]{0,3}")
_PORT: Final = re.compile("[1-9][0-9]{0,4}|")
_OWN_OPTIONS: Final = ("password_file", "timeout_s")
_SECRETS: Final = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


@dataclass(frozen=True)
class PostgresAddress:
    """One database.

    Attributes:
        parameters: libpq's keywords and values.
        password_file: The file of the password; empty for none. It is read at each connection, so that a password or a token
            may be renewed while the server runs.
        timeout_s: The longest wait for an answer.
    """

    parameters: dict[str, str] = field(repr=False)
    password_file: str = ""
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        known = self.parameters
        if "service" in known and "host" not in known:
            return f"postgresql://?service={known['service']}"
        host = known.get("host") or known.get("hostaddr", "")
        database = known.get("dbname", "")
        if host.startswith("/"):
            return f"postgresql:///{database}?host={host}"
        hosts = ",".join(f"[{each}]" if ":" in each else each for each in host.split(","))
        return f"postgresql://{hosts}{':' if 'port' in known else ''}{known.get('port', '')}/{database}"

    @property
    def connect_timeout_s(self) -> float:
        """The longest wait for the connection."""
        return float(self.parameters["connect_timeout"])

    def is_secret_in(self, text: str) -> bool:
        """Whether `text` repeats a secret."""
        secrets = (self.parameters.get(name) for name in _SECRETS)
        return any(secret and secret in text for secret in secrets)

    def read_password(self) -> dict[str, str]:
        """Return the password as libpq's keyword; nothing if the URL names no file. Blocks.

        Raises:
            StorageMisconfigured: The file cannot be used.
        """
        if not self.password_file:
            return {}
        try:
            return {"password": read_secret(Path(self.password_file))}
        except FileRefused as error:
            raise StorageMisconfigured(f"password_file: {error.message}", hint=error.hint) from error
        except OSError as error:
            raise StorageMisconfigured(
                f"password_file {self.password_file} cannot be read: {error.strerror}", hint="correct its path"
            ) from error


def parse_postgres_url(url: SplitResult) -> PostgresAddress:
    """Parse a `postgresql://` URL.

    Options: `password_file`, `timeout_s`, and every keyword of libpq: `sslmode`, `sslrootcert`, `service`, `passfile`, `options`,
    `target_session_attrs`, `connect_timeout` and so on. Several hosts, `host1:5432,host2:5432`, are tried in their order.

    Raises:
        ConfigError: A part is missing, malformed or unknown. The message names the part and does not repeat the URL.
    """
    options = options_of(url)
    own = {name: options.pop(name) for name in _OWN_OPTIONS if name in options}
    known = {each.keyword.decode() for each in pq.Conninfo.get_defaults()}
    if unknown := next((name for name in options if name not in known), None):
        raise ConfigError(
            f"the postgresql:// URL has the unknown option {unknown!r}",
            hint=f"{', '.join(_OWN_OPTIONS)}, or a keyword of libpq such as sslmode, sslrootcert, service, passfile",
        )
    try:
        query = urlencode(options, quote_via=quote)
        parsed = conninfo_to_dict(f"postgresql://{url.netloc}{url.path}?{query}{url.fragment and '#'}{url.fragment}")
    except ProgrammingError:  # its message repeats parts of the URL
        raise ConfigError(
            "the postgresql:// URL is malformed",
            hint="postgresql://user:password@host:5432/database?sslmode=verify-full; percent-encode special characters",
        ) from None
    parameters = {name: str(value) for name, value in parsed.items() if value is not None}
    if not all(_PORT.fullmatch(port) for port in parameters.get("port", "5432").split(",")):
        raise ConfigError("a port of the postgresql:// URL is malformed", hint="a number from 1 to 65535")
    if "password_file" in own and "password" in parameters:
        raise ConfigError("the URL has both a password and a password_file", hint="leave one of them out")
    parameters.setdefault("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT", str(CONNECT_TIMEOUT_S)))
    if not _WHOLE_SECONDS.fullmatch(parameters["connect_timeout"]):
        raise ConfigError("connect_timeout is no whole number of seconds from 1 to 9999", hint="connect_timeout=5")
    parameters.setdefault("fallback_application_name", "realmkeep")
    return PostgresAddress(
        parameters, password_file=own.get("password_file", ""), timeout_s=_seconds(own.get("timeout_s", str(TIMEOUT_S)))
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not TIMEOUT_S_MIN <= value <= TIMEOUT_S_MAX:
        raise ConfigError(
            f"timeout_s={text!r} is out of range", hint=f"{TIMEOUT_S_MIN} to {TIMEOUT_S_MAX:,.0f} seconds"
        )
    return value
