"""Every metric of a server: its name, its meaning, and where its value is read. docs/monitoring.md has the same table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from realmkeep.keeping.lifecycle.degraded import REASONS
from realmkeep.keeping.live.measures import LOAD_OUTCOMES
from realmkeep.operations.metrics.observed import VERSION

if TYPE_CHECKING:
    from realmkeep.keeping import KeeperStatus
    from realmkeep.keeping.live.measures import Histogram
    from realmkeep.keeping.writing.change_feed import ChangeFeed
    from realmkeep.keeping.writing.journal import Journal
    from realmkeep.operations.metrics.observed import ObservedServer

PREFIX: Final = "realmkeep_"
GAME: Final = "game"

Samples: TypeAlias = Iterable[tuple[tuple[str, ...], float]]
"""Values by their labels."""


class Reading(NamedTuple):
    """A server at the moment of one scrape."""

    server: ObservedServer
    status: KeeperStatus


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name without `PREFIX`, as it is scraped.
        kind: Its type.
        meaning: One sentence.
        labels: The names of its labels.
        read: Its present values: one sample for each combination of label values that occurs, or a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Samples | Histogram]


def _counter(name: str, field: str, meaning: str) -> Metric:
    return Metric(name, "counter", meaning, (), lambda now: [((), getattr(now.status, field))])


def _gauge(name: str, meaning: str, read: Callable[[Reading], float]) -> Metric:
    return Metric(name, "gauge", meaning, (), lambda now: [((), read(now))])


def _commits(now: Reading) -> Samples:
    status = now.status
    yield ("committed",), status.commits_durable
    yield ("repeated",), status.repeats
    yield ("refused_by_game",), status.refused_by_game
    yield ("refused_by_rule",), status.refused_by_rule
    yield ("refused_by_store",), status.refused_by_store
    yield ("unknown",), status.commits_unknown


def _writes(now: Reading) -> Samples:
    status = now.status
    yield ("batched", "committed"), status.flushes
    yield ("batched", "refused"), status.flushes_refused
    yield ("batched", "unknown"), status.flushes_unknown
    yield ("final", "committed"), status.releases
    yield ("final", "refused"), status.releases_refused
    yield ("final", "unknown"), status.releases_unknown


def _letters(now: Reading) -> Samples:
    status = now.status
    yield ("sent",), status.letters_sent
    yield ("opened",), status.letters_opened
    yield ("returned",), status.letters_returned
    yield ("kept",), status.letters_kept_aside


def _loads(now: Reading) -> Samples:
    """Every outcome from a kind's first load on: a counter that appears with 1 has no increase for Prometheus."""
    loads = now.server.engine.measures.loads
    kinds = dict.fromkeys(kind for kind, _ in loads)
    return [((kind, outcome), loads[kind, outcome]) for kind in kinds for outcome in LOAD_OUTCOMES]


def _degraded(now: Reading) -> Samples:
    present = {code for code, _ in now.server.degraded()}
    return [((code,), float(code in present)) for code in (*REASONS, GAME)]


def _memory(name: str) -> Callable[[Reading], Samples]:
    def read(now: Reading) -> Samples:
        value = getattr(now.server.vitals, name, None)
        return [] if value is None else [((), value)]

    return read


def _backup(name: str) -> Callable[[Reading], Samples]:
    def read(now: Reading) -> Samples:
        ages = now.server.backup_ages
        return [] if ages is None else [((), (getattr(ages, name) or 0) / 1_000_000)]

    return read


def _journal(read: Callable[[Journal], float]) -> Callable[[Reading], Samples]:
    def of_server(now: Reading) -> Samples:
        journal = now.server.engine.journal
        return [((), read(journal))] if journal.is_on else []

    return of_server


def _archive(read: Callable[[ChangeFeed], float]) -> Callable[[Reading], Samples]:
    def of_server(now: Reading) -> Samples:
        feed = now.server.engine.changes
        return [] if feed is None else [((), read(feed))]

    return of_server


def _healthy(now: Reading) -> Samples:
    vitals = now.server.vitals
    return [] if vitals is None else [((what,), float(well)) for what, well in vitals.healthy.items()]


def _build(now: Reading) -> Samples:
    capability = now.server.engine.storage.capability
    return [((now.server.keeper.name, VERSION, capability.engine, capability.fsync), 1.0)]


METRICS: Final = (
    Metric(
        "build_info", "gauge", "1; its labels describe the server.", ("server", "version", "store", "fsync"), _build
    ),
    _gauge("up_seconds", "Seconds since the server is observed.", lambda now: now.server.up_s),
    _gauge("ready", "1 if a new player may log in, as /readyz says.", lambda now: not any(now.server.not_ready())),
    Metric("degraded", "gauge", "1 while a promise does not hold for this reason.", ("reason",), _degraded),
    # the promise
    _gauge(
        "oldest_dirty_seconds",
        "Age of the unsaved change that is nearest to its deadline or furthest beyond it; flush_interval_seconds is the limit.",
        lambda now: now.status.oldest_dirty_s,
    ),
    _gauge(
        "flush_interval_seconds",
        "The setting keeper.flush_interval_s: a batched change is durable within this time.",
        lambda now: now.server.engine.config.flush_interval_s,
    ),
    Metric(
        "dirty_records",
        "gauge",
        "Live records with a change that is not durable yet.",
        ("kind",),
        lambda now: [((kind,), count) for kind, count in now.status.dirty_by_kind.items()],
    ),
    _gauge(
        "dirty_records_warning",
        "The setting operations.dirty_warning.",
        lambda now: now.server.config.dirty_warning,
    ),
    _gauge(
        "dirty_records_critical",
        "The setting operations.dirty_critical.",
        lambda now: now.server.config.dirty_critical,
    ),
    _gauge("frozen_records", "Live records that cannot be saved as they are.", lambda now: now.status.frozen_records),
    # commits and writes
    Metric("commits_total", "counter", "Commits by outcome.", ("outcome",), _commits),
    Metric(
        "commit_duration_seconds",
        "histogram",
        "From a commit's function to its durability.",
        (),
        lambda now: now.server.engine.measures.commit_s,
    ),
    Metric("writes_total", "counter", "Batched writes and final snapshots by outcome.", ("tier", "outcome"), _writes),
    _counter("escalations_total", "escalations", "Writes made at once because of a trigger."),
    Metric(
        "flush_duration_seconds",
        "histogram",
        "Rounds of the flusher that had due records, from the first to the last one handed over to the store.",
        (),
        lambda now: now.server.engine.measures.flush_s,
    ),
    Metric(
        "store_round_trip_seconds",
        "histogram",
        "From the sending of a batch of writes to the answers of the store.",
        (),
        lambda now: now.server.engine.measures.round_trip_s,
    ),
    Metric("batch_writes", "histogram", "Writes in a batch.", (), lambda now: now.server.engine.measures.batch_writes),
    _gauge("queue_depth", "Writes that are not known to be durable yet.", lambda now: now.status.queue_depth),
    _gauge(
        "queue_depth_max",
        "The setting keeper.queue_max: beyond it commits are refused.",
        lambda now: now.server.engine.config.queue_max,
    ),
    _counter("recoveries_total", "recoveries", "How often the fate of writes had to be read from the store."),
    _counter("rate_limited_total", "rate_limited", "Commits refused because their player starts too many."),
    # sessions
    Metric(
        "sessions",
        "gauge",
        "Live sessions by kind and state.",
        ("kind", "state"),
        lambda now: now.status.sessions_by_state.items(),
    ),
    _counter("sessions_begun_total", "sessions", "Sessions that began."),
    _counter("sessions_lost_total", "lost", "Sessions that lost their record to another server."),
    Metric(
        "loads_total",
        "counter",
        "Logins, holds and borrows that read the store, by kind and outcome.",
        ("kind", "outcome"),
        _loads,
    ),
    Metric(
        "migrations_total",
        "counter",
        "Records migrated when they were loaded, by kind and former version.",
        ("kind", "from_version"),
        lambda now: [
            ((kind, str(former)), count) for (kind, former), count in now.server.engine.measures.migrations.items()
        ],
    ),
    Metric(
        "logins_total",
        "counter",
        "Logins with a password, with a ticket and by registration, by outcome.",
        ("how", "outcome"),
        lambda now: (now.server.logins or {}).items(),
    ),
    # letters and the game's own faults
    Metric("letters_total", "counter", "Letters sent, opened, returned and kept.", ("what",), _letters),
    _counter("hook_failures_total", "hook_failures", "Hooks of the game that raised."),
    _counter("forgotten_marks_total", "forgotten_marks", "Changes that only the sweep found: a touch() is missing."),
    _counter("tier_violations_total", "tier_violations", "Immediate fields changed outside a commit."),
    _counter("changes_after_end_total", "changes_after_end", "Changes of records after their session was over."),
    # ownership and the store
    _gauge("lease_remaining_seconds", "Until other servers may take over.", lambda now: now.status.lease_left_s),
    _gauge(
        "lease_ttl_seconds",
        "The setting keeper.lease_ttl_s: for so long a silent server keeps its records.",
        lambda now: now.server.engine.config.lease_ttl_s,
    ),
    _gauge("store_up", "1 if the store answered lately.", lambda now: now.server.store_answers),
    Metric("store_memory_used_bytes", "gauge", "Memory of the store.", (), _memory("memory_used_bytes")),
    Metric(
        "store_memory_max_bytes",
        "gauge",
        "The store refuses writes beyond it; 0: no limit.",
        (),
        _memory("memory_max_bytes"),
    ),
    Metric(
        "store_aof_rewrites_total", "counter", "Rewrites of the store's append-only file.", (), _memory("aof_rewrites")
    ),
    Metric("store_healthy", "gauge", "1 if the store's last write of this kind succeeded.", ("what",), _healthy),
    _counter("records_healed_total", "healed_records", "Records written again after the store had lost them."),
    _counter("records_torn_total", "torn_records", "Records lost for good, because other servers had claimed them."),
    # the backups
    Metric(
        "backup_last_success_timestamp_seconds",
        "gauge",
        "When the newest complete backup was made; 0: there is none.",
        (),
        _backup("success_us"),
    ),
    Metric(
        "backup_last_verified_timestamp_seconds",
        "gauge",
        "When the newest backup that a restore has verified was made; 0: there is none.",
        (),
        _backup("verified_us"),
    ),
    # the economy
    _counter("unbalanced_commits_total", "unbalanced_commits", "Commits that made or destroyed something undeclared."),
    _counter("doubled_serials_total", "doubled_serials", "Items that were found to exist twice."),
    # the journal
    _counter(
        "journal_missed_total", "journal_missed", "Entries that are missing in the journal, because too many waited."
    ),
    Metric(
        "journal_backlog_bytes",
        "gauge",
        "Bytes of the journal that wait in the store for the archiver.",
        (),
        _journal(lambda journal: journal.backlog_bytes),
    ),
    Metric(
        "journal_backlog_max_bytes",
        "gauge",
        "The setting journal.backlog_bytes_max: beyond it entries are left out.",
        (),
        _journal(lambda journal: journal.bytes_max),
    ),
    Metric(
        "journal_last_archived_timestamp_seconds",
        "gauge",
        "When all of the journal was archived last; 0: never.",
        (),
        _journal(lambda journal: journal.archived_us / 1_000_000),
    ),
    # the cold tier
    Metric(
        "archive_lag_seconds",
        "gauge",
        "The age of the oldest acknowledged change that the cold tier lacks.",
        (),
        _archive(lambda feed: feed.lag_s),
    ),
    Metric(
        "archive_backlog_records",
        "gauge",
        "Changes that wait in memory for the cold tier: one a record, and one a write that is not safe yet.",
        (),
        _archive(lambda feed: feed.records),
    ),
    Metric(
        "archive_backlog_bytes",
        "gauge",
        "The memory that these take, about; beyond 256 MiB only keys are kept.",
        (),
        _archive(lambda feed: feed.size_bytes),
    ),
    # the process
    Metric(
        "loop_lag_seconds",
        "histogram",
        "How late the event loop ran a timer.",
        (),
        lambda now: now.server.loop_lag_s,
    ),
    Metric(
        "tick_lateness_seconds",
        "histogram",
        "How late the game's ticks were.",
        (),
        lambda now: now.server.tick_lateness_s if now.server.tick_lateness_s is not None else [],
    ),
)
"""All metrics, in the order of the scrape."""
