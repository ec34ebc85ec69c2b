"""Migrations: a stored record of an older schema version is brought up to date step by step, as a plain dictionary."""

import traceback
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

from realmkeep.callables import fault_of, name_of
from realmkeep.errors import Corrupt, DefinitionError, MigrationFailed, RecordTooNew, Unstorable
from realmkeep.records.definition import registered
from realmkeep.records.fields import RecordInfo
from realmkeep.records.issues import short_repr
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.plain import Plain, plain_copy
from realmkeep.records.storable import field_type, resolved

Step: TypeAlias = Callable[[Plain], Plain]
StepT = TypeVar("StepT", bound=Step)

VERSION_MAX: Final = 2**31 - 1  # a counter of releases; a larger number is damage


class RecordClass(Protocol):
    """The part of a record class that migrations use."""

    __realmkeep__: RecordInfo


def add_step(
    info: RecordInfo, version: int, former: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[StepT], StepT]:
    """Register the step from `version` to `version + 1`, as `@Player.migration(version)` does.

    Args:
        info: The record's declaration.
        version: The version that the step takes, from 0 to one below the record's current version.
        former: The types, at `version`, of the fields that the step retypes or removes.

    Raises:
        DefinitionError: The version is out of that range or already has a step, the step is not a plain function of one
            argument, or a former type could never be stored.
    """
    if not 0 <= version < info.version:
        raise DefinitionError(
            f"{info.kind}: a migration from version {version} leads beyond the current version {info.version}",
            hint=f"set version={version + 1} on the record class, or register the step under the version that it takes",
        )

    types = {name: resolved(annotation) for name, annotation in former.items()}
    for name, annotation in types.items():
        field_type(annotation, f"the former {info.kind}.{name}")

    def register(step: StepT) -> StepT:
        if (fault := fault_of(step, 1)) is not None:
            raise DefinitionError(
                f"{info.kind}: the migration from version {version}: {fault}",
                hint="a step is a plain function of a dictionary",
            )
        if version in info.migrations:
            raise DefinitionError(
                f"{info.kind}: two migrations from version {version}: {name_of(info.migrations[version])} and {name_of(step)}",
                hint="steps are append-only: leave the old one as it is and give the new one the next version",
            )
        info.migrations[version] = step
        info.former[version] = types
        return step

    return register


def check_migrations(cls: RecordClass | type[Any]) -> None:
    """Check that every version from the oldest with a step up to the current one can be reached.

    Call it at start-up; `check_all` does so for every record class.

    Args:
        cls: The record class.

    Raises:
        DefinitionError: Steps are missing, or lead beyond the current version; the message names each.
    """
    check_chains([cls])


def check_all() -> None:
    """Check the chains of every record class, and report all missing steps at once.

    Raises:
        DefinitionError: As for `check_migrations`.
    """
    check_chains(registered())


def check_chains(classes: Iterable[RecordClass | type[Any]]) -> None:
    """Check the chains of several record classes, and report all missing steps at once.

    Args:
        classes: The record classes.

    Raises:
        DefinitionError: As for `check_migrations`.
    """
    problems = [problem for cls in classes for problem in _problems(cast("RecordInfo", cls.__realmkeep__))]
    if problems:
        raise DefinitionError(
            "; ".join(problems), hint="steps are never deleted: a player may have been away for years"
        )


def _problems(info: RecordInfo) -> list[str]:
    steps = info.migrations
    problems = [
        f"{info.kind}: the migration from version {version} is out of range: set version={version + 1} or remove it"
        for version in sorted(steps)
        if not 0 <= version < info.version
    ]
    # Without any step, the chain is complete only if the record never had another version.
    first = min(steps, default=1)
    problems += [
        f"{info.kind}: no migration from version {version} to {version + 1}: add a step to the record class with .migration({version})"
        for version in range(first, info.version)
        if version not in steps
    ]
    return problems


def stored_version(plain: Plain, info: RecordInfo) -> int:
    """Return the schema version of a decoded record, from 0 to the record's current version.

    A record without a version has version 0, as in the specification. If no step from 0 is registered, it counts as
    version 1: the specification's runner skips a missing step, so a Lisp server without that step serves such records
    as version 1 too.

    Raises:
        Corrupt: The version is not a whole number from 0 to 2**31 - 1.
        RecordTooNew: It is newer than the code.
    """
    version = plain.get("version", 0)
    if type(version) is not int or not 0 <= version <= VERSION_MAX:
        raise Corrupt(
            f"{info.kind}: the stored version is {short_repr(version)}, not a whole number from 0 to {VERSION_MAX}",
            hint="the bytes are kept; restore this record from a backup",
        )
    if version > info.version:
        raise RecordTooNew(
            f"{info.kind}: stored at version {version}, but this code knows versions up to {info.version}",
            hint="run the newer release; a record is never downgraded",
        )
    if version == 0 and 0 not in info.migrations:
        return 1
    return version


def take_readable_by(plain: Plain, info: RecordInfo) -> tuple[int, int] | None:
    """Take `readable_by` out of a decoded record; return the newer version that wrote it, and `readable_by`, if it permits that.

    Args:
        plain: A decoded record, of any version; `readable_by` is removed from it.
        info: The record's declaration.

    Returns:
        None if the record is of this version or an older one, or of a newer one that only newer code may read.

    Raises:
        Corrupt: `readable_by` is not a whole number from 1 to the version.
    """
    version, readable_by = plain.get("version"), plain.pop("readable_by", None)
    if readable_by is None or type(version) is not int:
        return None
    if type(readable_by) is not int or not 1 <= readable_by <= version:
        raise Corrupt(
            f"{info.kind}: readable_by is {short_repr(readable_by)}, not a whole number from 1 to {version}",
            hint="the bytes are kept; restore this record from a backup",
        )
    return (version, readable_by) if readable_by <= info.version < version <= VERSION_MAX else None


def migrate(plain: Plain, info: RecordInfo, *, limits: Limits = DEFAULT_LIMITS) -> Plain:
    """Return the record at the current version; `plain` is not changed, and the result does not refer to it.

    Each step gets its own copy, with `version` set to the version that the step takes; the step's own `version` is
    ignored.

    Args:
        plain: A decoded record, of any version up to the current one.
        info: The record's declaration.
        limits: Depth and nodes that no step may exceed.

    Raises:
        Corrupt: The stored version is not a version.
        RecordTooNew: It is newer than the code.
        Unstorable: `plain` holds a value that is not plain, or exceeds the limits.
        MigrationFailed: There is no step from that version, or a step raised, or its result is not a dictionary of plain
            values. `KeyboardInterrupt` and `SystemExit` pass through.
    """
    version = stored_version(plain, info)
    return take_steps(plain_copy(plain, limits=limits), info, version, limits=limits)


def take_steps(plain: Plain, info: RecordInfo, version: int, *, limits: Limits = DEFAULT_LIMITS) -> Plain:
    """As `migrate`, for a record of this version that was just decoded: the first step may change `plain` itself.

    Raises:
        MigrationFailed: As for `migrate`.
    """
    for at in range(version, info.version):
        plain = run_step(plain, info, at, limits=limits)
    plain["version"] = info.version
    return plain


def run_step(plain: Plain, info: RecordInfo, version: int, *, limits: Limits = DEFAULT_LIMITS) -> Plain:
    """Run the step from `version` on `plain`, which the step may change, and return a copy of its result.

    Raises:
        MigrationFailed: As for `migrate`.
    """
    where = f"{info.kind}: the migration from version {version} to {version + 1}"
    step = info.migrations.get(version)
    if step is None:
        oldest = min(info.migrations, default=info.version)
        raise MigrationFailed(
            f"{where} does not exist; the oldest version that can be read is {oldest}",
            hint=f"add a step to the record class with .migration({version})",
        )
    plain["version"] = version
    try:
        result = cast("object", step(plain))
    except Exception as error:
        said = traceback.format_exception_only(error)[0].strip()
        raise MigrationFailed(
            f"{where} ({name_of(step)}) raised {said:.300}",
            hint="the stored bytes are unchanged; a step must accept missing fields",
        ) from error
    if type(result) is not dict:
        raise MigrationFailed(
            f"{where} ({name_of(step)}) returned {type(result).__name__}, not a dictionary",
            hint="end the step with `return` and the dictionary",
        )
    try:
        current = plain_copy(cast("Plain", result), limits=limits)
    except Unstorable as error:
        raise MigrationFailed(
            f"{where} ({name_of(step)}) returned a value that cannot be stored: {error.message}",
            hint="return only text keys and None, bool, int, float, str, and lists and dictionaries of these",
        ) from error
    current["version"] = version + 1
    return current
