"""The gate of the console: which requests come in at all, and the headers of every answer.

A page of another site cannot use the console through an operator's browser: its name in `Host` is unknown, and what it sends has
another origin. `Sec-Fetch-Site` says so in every browser since 2023; `Origin` is the check where it is absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),  # `no-referrer` would make the origin of a form's request `null`
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
READS: Final = frozenset({"GET", "HEAD"})


def host_of(authority: str) -> str:
    """The host of an authority, in lower case and without its port: `console.example:8443`, `[::1]:9465`."""
    host = authority.rpartition("]")[0] + "]" if authority.startswith("[") else authority.partition(":")[0]
    return host.lower().rstrip(".")


def is_same_origin(headers: Headers) -> bool:
    """Whether a request that changes something comes from a page of the console."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None or (origin == "null" and site is not None):
        return site is not None
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


class Gate:
    """Lets requests to known names in; of those that change something, only those of the console's own pages.

    Args:
        app: The console.
        hosts: The names by which it is asked for.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host_of(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS:
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        app = self._app
        if len(headers.getlist("host")) != 1 or host_of(headers.get("host", "")) not in self._hosts:
            app = PlainTextResponse("The console is not known by this name: see console.hosts.\n", 421)
        elif scope["method"] not in READS and not is_same_origin(headers):
            app = PlainTextResponse("This request does not come from a page of the console.\n", 403)
        await app(scope, receive, send_with_headers)
