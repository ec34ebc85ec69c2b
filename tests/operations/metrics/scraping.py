"""Asks an operator's port, and an ASGI application without one."""

import asyncio
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from starlette.types import ASGIApp

PATIENCE_S = 20.0


class Answered(NamedTuple):
    status: int
    content_type: str
    text: str


def get(address: str, path: str, **headers: str) -> Answered:
    """The answer of a port. Blocks."""
    request = urllib.request.Request(f"http://{address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return Answered(answer.status, answer.headers["content-type"], answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, error.headers["content-type"], error.read().decode())


async def asked(address: str, path: str, **headers: str) -> Answered:
    """As `get`, from the event loop that serves the port."""
    return await asyncio.to_thread(get, address, path, **headers)


async def asked_of(app: ASGIApp, path: str, **headers: str) -> Answered:
    """The answer of an application that is called directly, without a socket and without time."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *body = sent
    content_type = dict(start["headers"]).get(b"content-type", b"").decode()
    return Answered(start["status"], content_type, b"".join(part["body"] for part in body).decode())
