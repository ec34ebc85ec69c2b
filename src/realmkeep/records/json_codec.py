"""Records as JSON, the default: `{"version":3,"name":"Ada",...,"crc":"89abcdef"}`, readable with any Redis client.

After `version` come the fields in the order of their definition, then the unknown ones that are kept, then `readable_by` if
versions older than `version` may read the record, without blanks. Unknown fields are sorted; those of a record that a newer
version wrote are in the order in which they were found. Entries of sets and keys of dictionaries are sorted, so that equal
records are equal bytes. `crc` is the last field: eight small hexadecimal digits, the CRC-32 (zlib's, that of IEEE 802.3) of all bytes
before its `,"crc"`. Only this written form is compared, so every change of one byte is seen.
"""

from binascii import hexlify
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records.checksum import crc32
from realmkeep.records.json_reader import count_nodes
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.marking import Marks, marks_of
from realmkeep.records.record import Record, unknown_fields
from realmkeep.records.unstorable import has_nan, unstorable

R = TypeVar("R", bound=Record)

_TAIL_START: Final = b',"crc":"'
_BRACE: Final = ord("}")
_TAIL_BYTES: Final = len(b',"crc":"89abcdef"}')

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_encode: Final = _encoder.encode
_encode_into: Final = _encoder.encode_into
_encode_as_ordered: Final = msgspec.json.Encoder().encode
_join: Final = b"".join
_buffers: Final = [bytearray()]  # spare buffers: at most as many as threads encoded at once
_take_buffer: Final = _buffers.pop  # popping and appending are atomic
_return_buffer: Final = _buffers.append


def encode(record: Record, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Encode the durable fields of a record, with version and checksum.

    Every value is checked: the result can be loaded. If the bytes are the same as at the record's last check, the check is
    skipped, which makes a sweep over unchanged records cheap. A class with a float that may be None is always checked.

    Args:
        record: The record.
        limits: The caps on the record.

    Raises:
        Unstorable: A value has another type than its field, is NaN or infinite, an integer beyond 64 bits, or text with
            half a surrogate pair; the path is named.
        RecordTooLarge: The record takes more bytes or nodes than `limits` allows; the largest field is named.
    """
    try:
        buffer = _take_buffer()
    except IndexError:
        buffer = bytearray()
    try:
        _encode_into(record, buffer)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        if not record.__blueprint__.number_keys:
            raise unstorable(record, error) from error
        buffer[:] = _with_number_keys(record)
    buffer.pop()  # the closing brace
    crc = crc32(buffer)
    stored = _join((buffer, b',"crc":"', hexlify(crc.to_bytes(4)), b'"}'))
    try:
        if record.__marks__.checked_crc == crc and len(stored) <= limits.bytes_safe_max:
            _return_buffer(buffer)
            return stored
    except AttributeError:  # a record that was never marked or observed
        pass
    buffer.append(_BRACE)
    stored = _check_by_decoding(record, buffer, stored, crc, limits)
    _return_buffer(buffer)
    return stored


def _with_number_keys(record: Record) -> bytes:
    """Encode a record with number keys by a detour: msgspec sorts keys only if all are texts."""
    try:
        return msgspec.json.encode(msgspec.to_builtins(record, order="deterministic", str_keys=True))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise unstorable(record, error) from error


def _check_by_decoding(record: Record, bare: bytearray, stored: bytes, crc: int, limits: Limits) -> bytes:
    """Prove that the bytes can be loaded, by decoding them; `bare` is the object without its checksum."""
    blueprint, marks = record.__blueprint__, marks_of(record)
    is_plain = not (marks.unknown or marks.newer or blueprint.json_end)
    if is_plain or marks.checked_beside_crc != crc:
        _check_fields(record, bare, crc, marks, is_plain=is_plain)
    if not is_plain:
        fields = bytes(bare[len(blueprint.json_start) : -1])
        if marks.newer is not None:
            stored = marks.newer.encode(record, fields, limits)
        else:
            info = record.__realmkeep__
            stored = join_json(info.version, fields, marks.unknown, info.readable_by, sort=True)
    if len(stored) > limits.bytes_safe_max:
        _check_size(record, stored, limits)
    return stored


def _check_fields(record: Record, bare: bytearray, crc: int, marks: Marks, *, is_plain: bool) -> None:
    blueprint = record.__blueprint__
    try:
        blueprint.bounded_decoder.decode(bare)
        within = True
    except msgspec.MsgspecError:
        within = False
        try:
            blueprint.decoder.decode(bare)
        except msgspec.MsgspecError as error:
            raise unstorable(record, error) from error
    for name in blueprint.nan_hides_in:
        if has_nan(msgspec.to_builtins(getattr(record, name), str_keys=True)):
            raise unstorable(record, ValueError("a value that JSON cannot hold"))
    marks.within_bounds = within
    if not blueprint.nan_hides_in:  # there, a NaN and a None give the same bytes, so each encoding is checked
        if is_plain:
            marks.checked_crc = crc
        else:
            marks.checked_beside_crc = crc


def join_json(
    version: int, fields: bytes, unknown: Mapping[str, Any], readable_by: int | None, *, sort: bool = False
) -> bytes:
    """Join the parts of a stored record.

    Args:
        version: Its version.
        fields: The fields that the class declares, as JSON, each after a comma.
        unknown: Those that it does not declare.
        readable_by: The oldest version that may read it; None if no older one may.
        sort: Sort them, and not leave them in their order.
    """
    kept = b"," + (_encode if sort else _encode_as_ordered)(dict(unknown))[1:-1] if unknown else b""
    end = b"" if readable_by is None else b',"readable_by":%d' % readable_by
    return with_crc(b'{"version":%d%b%b%b}' % (version, fields, kept, end))


def with_crc(bare: bytes) -> bytes:
    """End a JSON object with its checksum.

    Args:
        bare: A JSON object with at least one field, without `crc` and without blanks at its end.
    """
    return b'%b,"crc":"%08x"}' % (bare[:-1], crc32(bare[:-1]))


def _check_size(record: Record, stored: bytes, limits: Limits) -> None:
    if len(stored) > limits.bytes_max:
        excess = f"{len(stored)} bytes, more than the {limits.bytes_max} allowed"
    else:
        nodes = count_nodes(stored) if stored.startswith(b"{") else 0  # s-expressions were read by their own caps
        if nodes <= limits.nodes_max:
            return
        excess = f"{nodes} values and keys, more than the {limits.nodes_max} allowed"
    sizes = {name: len(_encode(getattr(record, name))) for name in record.__blueprint__.names}
    sizes["unknown fields"] = len(_encode(dict(unknown_fields(record))))
    largest = max(sizes, key=sizes.__getitem__)
    raise RecordTooLarge(
        f"{record.__realmkeep__.kind} takes {excess}; its largest part is {largest}, {sizes[largest]} bytes",
        hint="the record was not stored; shrink that part, move it to a record of its own, or raise the limit",
    )


def check_crc(stored: bytes) -> bool:
    """Compare the checksum: True if it is right, False if there is none.

    Raises:
        Corrupt: The checksum is wrong: the bytes were changed after they were written.
    """
    written = _written_crc(stored)
    if written is None:
        return False
    crc = b"%08x" % crc32(stored[:-_TAIL_BYTES])
    if written != crc:
        raise Corrupt(
            f"The checksum is {crc.decode()}, not {written.decode('ascii', 'replace')} as stored",
            hint="the bytes are kept; restore a backup; a program that rewrites a record must remove crc",
        )
    return True


def _written_crc(stored: bytes) -> bytes | None:
    """Return the bytes in the place of the digits, if the record ends in the form that `encode` writes."""
    ends = stored[-_TAIL_BYTES:-10] == _TAIL_START and stored.endswith(b'"}')
    return stored[-10:-2] if ends else None


def decode_record(stored: bytes, cls: type[R], limits: Limits = DEFAULT_LIMITS) -> R | None:
    """Decode, at msgspec's speed, bytes that `encode` wrote for the class's current version.

    The returned record encodes to exactly these bytes. That proves that no field is unknown, missing, duplicate, of
    another type, or written in another form. It is not validated yet.

    Args:
        stored: The bytes.
        cls: The record class.
        limits: The caps on the bytes.

    Returns:
        The record. None for other bytes: another version or format, fields missing or unknown, no checksum, or wrong
        types; `json_reader.decode_plain` then finds the fault.

    Raises:
        RecordTooLarge: More bytes or nodes than `limits` allows; the record was not decoded.
        Corrupt: The checksum is wrong.
    """
    check_stored_size(stored, cls, limits)
    blueprint = cls.__blueprint__
    if not stored.startswith(blueprint.json_start) or not check_crc(stored):
        return None
    bare, end = stored[:-_TAIL_BYTES], blueprint.json_end
    if not bare.endswith(end):
        return None
    bare = bare[: len(bare) - len(end)] + b"}"
    try:
        record: R = blueprint.decoder.decode(bare)
    except (msgspec.MsgspecError, ValueError):
        return None
    written = _with_number_keys(record) if blueprint.number_keys else _encode(record)
    return record if written == bare else None


def check_stored_size(stored: bytes, cls: type[Record], limits: Limits) -> None:
    """Refuse bytes beyond the caps, before they are decoded.

    Raises:
        RecordTooLarge: More bytes or nodes than `limits` allows.
    """
    size = len(stored)
    if size > limits.bytes_max:
        raise RecordTooLarge(
            f"A stored {cls.__realmkeep__.kind} has {size} bytes, more than the {limits.bytes_max} allowed"
        )
    if size > limits.bytes_safe_max:
        nodes = count_nodes(stored)
        if nodes > limits.nodes_max:
            raise RecordTooLarge(
                f"A stored {cls.__realmkeep__.kind} has {nodes} values and keys, more than the {limits.nodes_max} allowed"
            )
