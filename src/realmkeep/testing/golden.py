"""Golden bytes: stored records of every schema version ever written, each still loading into today's record.

A directory holds, for each version n, `v{n}.json` and `v{n}.sexpr`: bytes as that release stored them, which never change
again. Beside each lies what today's code makes of them, readable: `v{n}.json.loaded`.
"""

from pathlib import Path

import msgspec

from realmkeep.errors import RealmkeepError
from realmkeep.records.codecs import CODECS, decode, encode
from realmkeep.records.loading import load
from realmkeep.records.record import Record, unknown_fields


def check_golden(cls: type[Record], directory: Path) -> None:
    """Check that stored bytes of every version load into the expected record, and that today's bytes are as they were.

    Args:
        cls: The record class.
        directory: Where `write_golden` wrote.

    Raises:
        AssertionError: A version has no golden bytes, or they do not load, load into another record than expected, or,
            those of the current version, would be stored differently now; or a step is given something else by the two
            codecs. The file is named.
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
        raise AssertionError(f"{expected} is missing; call write_golden and look at what it writes")
    if (now := _loaded_text(cls, path)) != expected.read_text(encoding="utf-8"):
        raise AssertionError(f"{path} loads into another record than {expected.name} says, namely {now:.2000}")


def _check_codecs_agree(cls: type[Record], paths: list[Path]) -> None:
    """Both codecs must give the first step the same, or their records part from there on."""
    if len(paths) < len(CODECS):
        return
    one, other = (decode(path.read_bytes(), cls, accept_unchecked=True) for path in paths)
    for name in one.keys() | other.keys():
        values = [repr(plain.get(name, "missing")) for plain in (one, other)]
        if one.get(name) != other.get(name) or type(one.get(name)) is not type(other.get(name)):
            raise AssertionError(
                f"{name} of {cls.__realmkeep__.kind} is {values[0]:.200} in {paths[0]}, and {values[1]:.200} in "
                f"{paths[1].name}; say what type it had: .migration(n, former={{{name!r}: ...}})"
            )


def write_golden(directory: Path, record: Record) -> None:
    """Write golden bytes of the current version, and today's reading of every version.

    Call it by hand when a version is new, look at what it changed (`git diff`), and commit that. Bytes that exist are
    never written again: a release stored them.

    Args:
        directory: Where to write; made if it does not exist.
        record: An example that has something in every field.

    Raises:
        AssertionError: Golden bytes of some version do not load.
        Unstorable: The example cannot be stored.
        RecordTooLarge: It is too large.
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
    """The record, a field a line, without the version: raising it alone must not change what an old record means."""
    record = _load(cls, path)
    plain = msgspec.to_builtins(record, order="deterministic") | unknown_fields(record)
    del plain["version"]
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def _stored_now(cls: type[Record], path: Path) -> bytes:
    return encode(_load(cls, path), "json" if path.suffix == ".json" else "sexpr")
