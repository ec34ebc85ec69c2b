"""Golden bytes: stored records of every schema version ever written; each must still load into today's record.

For each version n a directory holds `v{n}.json` and `v{n}.sexpr`: the bytes as that release stored them, which never change.
Beside each is today's reading of them as text: `v{n}.json.loaded`.
"""

from pathlib import Path

import msgspec

from realmkeep.errors import RealmkeepError
from realmkeep.records.codecs import CODECS, decode, encode
from realmkeep.records.loading import load
from realmkeep.records.record import Record, unknown_fields


def check_golden(cls: type[Record], directory: Path) -> None:
    """Check that stored bytes of every version load into the expected record, and that today's bytes have not changed.

    Args:
        cls: The record class.
        directory: The directory of `write_golden`.

    Raises:
        AssertionError: A version has no golden bytes; or its bytes do not load, or load into another record than expected;
            or the bytes of the current version would be written differently now; or the two codecs give a migration
            step different data. The message names the file.
    """
    info = cls.__realmkeep__
    stored = {
        version: [path for codec in CODECS if (path := directory / f"v{version}.{codec}").exists()]
        for version in range(min(info.migrations, default=info.version), info.version + 1)
    }
    for version, paths in stored.items():
        if not paths:
            raise AssertionError(
                f"{directory} has no golden bytes of {info.kind} version {version}; "
                "write_golden writes them while it is current"
            )
    for path in (path for paths in stored.values() for path in paths):
        _check(cls, path)
    for paths in stored.values():
        _check_codecs_agree(cls, paths)
    for path in stored[info.version]:
        if (now := _stored_now(cls, path)) != path.read_bytes():
            raise AssertionError(f"{path} would be stored differently now: {now!r:.2000}")


def _check(cls: type[Record], path: Path) -> None:
    expected = _loaded_path(path)
    if not expected.exists():
        raise AssertionError(f"{expected} is missing; call write_golden and check its output")
    if (now := _loaded_text(cls, path)) != expected.read_text(encoding="utf-8"):
        raise AssertionError(f"{path} loads into another record than in {expected.name}: {now:.2000}")


def _check_codecs_agree(cls: type[Record], paths: list[Path]) -> None:
    """Check that both codecs give the first step the same data: otherwise the two records would differ from there on."""
    if len(paths) < len(CODECS):
        return
    one, other = (decode(path.read_bytes(), cls, accept_unchecked=True) for path in paths)
    for name in one.keys() | other.keys():
        values = [repr(plain.get(name, "missing")) for plain in (one, other)]
        if one.get(name) != other.get(name) or type(one.get(name)) is not type(other.get(name)):
            raise AssertionError(
                f"{name} of {cls.__realmkeep__.kind} is {values[0]:.200} in {paths[0]}, and {values[1]:.200} in "
                f"{paths[1].name}; declare its former type: .migration(n, former={{{name!r}: ...}})"
            )


def write_golden(directory: Path, record: Record) -> None:
    """Write golden bytes of the current version, and today's reading of every version.

    Call it by hand for a new version, check the changes (`git diff`), and commit them. Existing bytes are never written
    again, because a release stored them.

    Args:
        directory: The directory to write to; made if absent.
        record: An example with a value in every field.

    Raises:
        AssertionError: Golden bytes of a version do not load.
        Unstorable: The example cannot be stored.
        RecordTooLarge: The example is too large.
    """
    cls = type(record)
    directory.mkdir(parents=True, exist_ok=True)
    for codec in CODECS:
        path = directory / f"v{cls.__realmkeep__.version}.{codec}"
        if not path.exists():
            path.write_bytes(encode(record, codec))
        for stored in sorted(directory.glob(f"v*.{codec}")):
            _loaded_path(stored).write_text(_loaded_text(cls, stored), encoding="utf-8")


def _loaded_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.loaded")


def _load(cls: type[Record], path: Path) -> Record:
    try:
        return load(path.read_bytes(), cls, accept_unchecked=True).require()
    except RealmkeepError as error:
        raise AssertionError(f"{path} does not load: {error}") from error


def _loaded_text(cls: type[Record], path: Path) -> str:
    """Format a record, a field a line, without the version: a higher version alone must not change an old record."""
    record = _load(cls, path)
    plain = msgspec.to_builtins(record, order="deterministic") | unknown_fields(record)
    del plain["version"]
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def _stored_now(cls: type[Record], path: Path) -> bytes:
    return encode(_load(cls, path), "json" if path.suffix == ".json" else "sexpr")
