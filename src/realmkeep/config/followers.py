"""The sections of all that follows behind a store: its backups, its journal, its cold tier."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from realmkeep.config.settings import Section, mask_url


class BackupConfig(Section, frozen=True, kw_only=True):
    """Backups: their place, their times, and the way to count them."""

    directory: Annotated[
        str, Meta(min_length=1, description="The directory of the backups, on another disk than the store.")
    ] = "realm-data/backups"
    interval_s: Annotated[
        float,
        Meta(ge=0, le=7 * 86_400, description="How often `serve` makes a backup in a child process; 0: never."),
    ] = 3600
    hourly_days: Annotated[
        int, Meta(ge=0, le=3650, description="Days for which every backup is kept; then one of each day.")
    ] = 7
    daily_days: Annotated[
        int, Meta(ge=0, le=3650, description="Days for which one backup of each day is kept; then none.")
    ] = 30
    recipients: Annotated[
        str,
        Meta(max_length=4096, description="Public keys of age, between blanks, that can decrypt; empty: plain files."),
    ] = ""
    offsite_url: Annotated[
        str,
        Meta(
            pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9._/-]*)?)?\Z",
            description="A bucket to which every backup is copied; its keys come from the variables AWS_*.",
            extra={"allowed": "s3://bucket or s3://bucket/prefix; empty: none"},
        ),
    ] = ""
    holdings: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z",
            description="The `Holdings` of the game: its record classes, and what one holds.",
            extra={"allowed": "module:object"},
        ),
    ] = "realmkeep.realm.world.holdings:HOLDINGS"

    def conflicts(self) -> Iterable[str]:
        """Yield daily backups that end before the hourly ones."""
        if self.daily_days < self.hourly_days:
            yield (
                f"daily_days = {self.daily_days} with hourly_days = {self.hourly_days}: allowed is at least hourly_days"
            )


class JournalConfig(Section, frozen=True, kw_only=True):
    """The journal: one entry a commit, and its archive."""

    enabled: Annotated[bool, Meta(description="`serve` writes a journal, and archives it.")] = True
    url: Annotated[
        str,
        Meta(
            pattern=r"^(file:///[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+|s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9._/-]*)?"
            r"|postgresql://[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+)\Z",
            description="The archive of the journal, on another disk than the store.",
            extra={
                "allowed": "file:///directory, s3://bucket/prefix or postgresql://user@host/database",
                "mask": mask_url,
            },
        ),
    ] = "file:///realm-data/journal"
    interval_s: Annotated[
        float, Meta(ge=0.05, le=3600, description="How often waiting entries are archived, as one segment or more.")
    ] = 60
    keep_days: Annotated[int, Meta(ge=0, le=36_500, description="Days for which segments are kept; 0: for ever.")] = 90
    snapshot_interval_s: Annotated[
        float, Meta(ge=1, le=7 * 86_400, description="A live record that is written has a snapshot this often.")
    ] = 3600
    backlog_bytes_max: Annotated[
        int,
        Meta(
            ge=64 * 1024,
            le=4 * 1024**3,
            description="Bytes that may wait in the store for the archive; beyond it entries are left out.",
        ),
    ] = 64 * 1024 * 1024


class ArchiveConfig(Section, frozen=True, kw_only=True):
    """The cold tier: a PostgreSQL behind the store, with a row for each record."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(|postgresql://[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+)\Z",
            description="The database of the cold tier; empty: none.",
            extra={"allowed": "postgresql://user@host/database, or nothing", "mask": mask_url},
        ),
    ] = ""
    interval_s: Annotated[
        float, Meta(ge=0.05, le=3600, description="How often acknowledged changes are shipped, all of one moment.")
    ] = 5
    sweep_interval_s: Annotated[
        float, Meta(ge=1, le=7 * 86_400, description="How often both tiers are compared, and records are frozen.")
    ] = 600
    freeze_after_days: Annotated[
        float, Meta(ge=0, le=36_500, description="Days without a change after which a record is frozen; 0: never.")
    ] = 30
    freeze_kinds: Annotated[
        str,
        Meta(
            pattern=r"^([a-z][a-z0-9-]{0,31}( +[a-z][a-z0-9-]{0,31})*)?\Z",
            description="The kinds of records that may be frozen.",
            extra={"allowed": "kinds between blanks: player guild"},
        ),
    ] = "player"
