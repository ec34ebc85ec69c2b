"""The console's own files, read and compressed when this module is imported, so that no request waits for a disk."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

STATIC: Final = Path(__file__).with_name("static")
TYPES: Final = MappingProxyType({".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"})
FOR_EVER: Final = "public, max-age=31536000, immutable"  # its URL has the digest of its content


class Asset(NamedTuple):
    """A file, as it is and compressed.

    Attributes:
        version: The start of its digest; part of its URL.
    """

    content: bytes
    compressed: bytes
    type: str
    version: str


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    version = hashlib.sha256(content).hexdigest()[:12]
    return Asset(content, gzip.compress(content, mtime=0), TYPES[path.suffix], version)


ASSETS: Final[Mapping[str, Asset]] = MappingProxyType(
    {path.name: _read(path) for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
)


def asset_response(request: Request) -> Response:
    """The file that a request names; 404 if there is none."""
    asset = ASSETS.get(request.path_params["name"])
    if asset is None:
        return Response(status_code=404)
    headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.type)
    return Response(asset.content, headers=headers, media_type=asset.type)
