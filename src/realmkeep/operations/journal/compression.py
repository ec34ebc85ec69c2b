"""The compression of segments: Zstandard, an extra."""

from __future__ import annotations

from typing import Any, Final

from realmkeep.errors import JournalDamaged, StorageMisconfigured

LEVEL: Final = 3  # about 7:1 at 200 MB a second
PLAIN_BYTES_MAX: Final = 64 * 1024 * 1024  # many times what the archiver takes at once


def pack(plain: bytes) -> bytes:
    """Compress.

    Raises:
        StorageMisconfigured: zstandard is not installed.
    """
    return _zstandard().ZstdCompressor(level=LEVEL, write_checksum=True).compress(plain)


def unpack(packed: bytes) -> bytes:
    """Decompress.

    Raises:
        JournalDamaged: It is not compressed, or too large.
        StorageMisconfigured: zstandard is not installed.
    """
    zstandard = _zstandard()
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=PLAIN_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise JournalDamaged(f"a segment cannot be unpacked: {error}", hint="restore it from a copy") from error


def _zstandard() -> Any:
    try:
        import zstandard  # noqa: PLC0415 - only an archive needs it
    except ModuleNotFoundError as error:
        raise StorageMisconfigured(
            "the archive of the journal needs the package zstandard, which is not installed",
            hint="pip install 'realmkeep[journal]'",
        ) from error
    return zstandard
