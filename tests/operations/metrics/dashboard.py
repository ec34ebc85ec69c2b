"""Builds realmkeep.dashboard.json for Grafana; run this file to write it anew."""

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from realmkeep.operations.metrics import DASHBOARD

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
HERE = '{instance=~"$instance"}'
COLUMNS, STAT_HEIGHT, GRAPH_HEIGHT = 24, 4, 8
GREEN, ORANGE, RED = "green", "orange", "red"

Target = tuple[str, str]
"""An expression, with HERE as its selector, and the text of its legend."""


def p99(name: str) -> str:
    return f"histogram_quantile(0.99, sum by (instance, le) (rate({name}_bucket{HERE}[$__rate_interval])))"


def rate(name: str, by: str = "instance") -> str:
    return f"sum by ({by}) (rate({name}{HERE}[$__rate_interval]))"


def queries(targets: list[Target]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        for number, (expression, legend) in enumerate(targets)
    ]


def steps(*edges: tuple[float, str], base: str = GREEN) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=None, color=base), *(Threshold(value=edge, color=color) for edge, color in edges)])
    )


def tile(title: str, meaning: str, expression: str, unit: str, thresholds: dashboard.ThresholdsConfig) -> stat.Panel:
    panel = stat.Panel().title(title).description(meaning).datasource(SOURCE).unit(unit).thresholds(thresholds)
    for query in queries([(expression, "{{instance}}")]):
        panel.with_target(query.instant())
    return panel.span(COLUMNS // 6).height(STAT_HEIGHT)


def graph(
    title: str, meaning: str, unit: str, *targets: Target, marks: dashboard.ThresholdsConfig | None = None
) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    panel = timeseries.Panel().title(title).description(meaning).datasource(SOURCE).unit(unit).min(0).legend(legend)
    for query in queries(list(targets)):
        panel.with_target(query)
    if marks is not None:
        panel.thresholds(marks).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
        )
    return panel.span(COLUMNS // 2).height(GRAPH_HEIGHT)


def overview(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Now"))
    for panel in (
        tile(
            "Oldest unsaved change",
            "The promise: at most keeper.flush_interval_s, 30 s by default.",
            f"realmkeep_oldest_dirty_seconds{HERE}",
            "s",
            steps((31, ORANGE), (35, RED)),
        ),
        tile("Ready", "1: a new player may log in.", f"realmkeep_ready{HERE}", "none", steps((1, GREEN), base=RED)),
        tile(
            "Degraded",
            "Promises that do not hold now.",
            f"sum by (instance) (realmkeep_degraded{HERE})",
            "none",
            steps((1, RED)),
        ),
        tile(
            "Players here",
            "Connected sessions of all kinds.",
            f'sum by (instance) (realmkeep_sessions{{state="connected",{HERE[1:]})',
            "none",
            steps(base="blue"),
        ),
        tile(
            "Frozen records",
            "They cannot be saved as they are.",
            f"realmkeep_frozen_records{HERE}",
            "none",
            steps((1, RED)),
        ),
        tile(
            "Store memory",
            "Of maxmemory; the store refuses writes at 100 %.",
            f"realmkeep_store_memory_used_bytes{HERE} / (realmkeep_store_memory_max_bytes{HERE} > 0)",
            "percentunit",
            steps((0.7, ORANGE), (0.9, RED)),
        ),
    ):
        board.with_panel(panel)


def promise(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("The promise"))
    for panel in (
        graph(
            "Oldest unsaved change",
            "Age of the change that is nearest to its deadline, beside its limit.",
            "s",
            (f"realmkeep_oldest_dirty_seconds{HERE}", "{{instance}}"),
            (f"realmkeep_flush_interval_seconds{HERE} + 5", "limit {{instance}}"),
        ),
        graph(
            "Unsaved records",
            "Live records with a change that is not durable yet, and frozen ones.",
            "none",
            (f"sum by (instance, kind) (realmkeep_dirty_records{HERE})", "{{kind}} {{instance}}"),
            (f"realmkeep_frozen_records{HERE}", "frozen {{instance}}"),
            marks=steps((1000, ORANGE), (5000, RED)),
        ),
        graph(
            "What does not hold",
            "Each reason of a degraded server.",
            "none",
            (f"realmkeep_degraded{HERE} > 0", "{{reason}} {{instance}}"),
        ),
        graph(
            "Write queue and lease",
            "Writes that wait for the store; seconds until other servers may take over.",
            "none",
            (f"realmkeep_queue_depth{HERE}", "queued {{instance}}"),
            (f"realmkeep_lease_remaining_seconds{HERE}", "lease {{instance}}"),
        ),
    ):
        board.with_panel(panel)


def work(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Commits and writes"))
    for panel in (
        graph(
            "Commits a second",
            "By outcome.",
            "ops",
            (rate("realmkeep_commits_total", "instance, outcome"), "{{outcome}} {{instance}}"),
            (rate("realmkeep_rate_limited_total"), "rate limited {{instance}}"),
        ),
        graph(
            "Commit duration",
            "From a commit's function to its durability.",
            "s",
            (p99("realmkeep_commit_duration_seconds"), "99 % {{instance}}"),
            (p99("realmkeep_commit_duration_seconds").replace("0.99", "0.5"), "50 % {{instance}}"),
        ),
        graph(
            "Writes a second",
            "Batched writes and final snapshots by outcome, and writes at once because of a trigger.",
            "ops",
            (rate("realmkeep_writes_total", "instance, tier, outcome"), "{{tier}} {{outcome}} {{instance}}"),
            (rate("realmkeep_escalations_total"), "triggered {{instance}}"),
        ),
        graph(
            "Store round trip and flush",
            "99 % of the batches are answered, and of the flushes handed over, within this time.",
            "s",
            (p99("realmkeep_store_round_trip_seconds"), "round trip {{instance}}"),
            (p99("realmkeep_flush_duration_seconds"), "flush {{instance}}"),
            marks=steps((0.01, ORANGE), (0.1, RED)),
        ),
    ):
        board.with_panel(panel)


def players(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Sessions and letters"))
    for panel in (
        graph(
            "Sessions",
            "Live sessions by kind and state.",
            "none",
            (f"sum by (instance, kind, state) (realmkeep_sessions{HERE})", "{{kind}} {{state}} {{instance}}"),
        ),
        graph(
            "Logins a second",
            "By kind and outcome.",
            "ops",
            (rate("realmkeep_logins_total", "instance, how, outcome"), "{{how}} {{outcome}} {{instance}}"),
        ),
        graph(
            "Records loaded a second",
            "By outcome, and records that were migrated.",
            "ops",
            (rate("realmkeep_loads_total", "instance, outcome"), "{{outcome}} {{instance}}"),
            (rate("realmkeep_migrations_total", "instance, kind, from_version"), "{{kind}} from {{from_version}}"),
        ),
        graph(
            "Letters a second",
            "Sent, opened, returned and kept.",
            "ops",
            (rate("realmkeep_letters_total", "instance, what"), "{{what}} {{instance}}"),
        ),
    ):
        board.with_panel(panel)


def machine(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Store and process"))
    for panel in (
        graph(
            "Store memory",
            "Used, and the limit beyond which writes are refused.",
            "bytes",
            (f"realmkeep_store_memory_used_bytes{HERE}", "used {{instance}}"),
            (f"realmkeep_store_memory_max_bytes{HERE}", "limit {{instance}}"),
        ),
        graph(
            "Rewrites of the store's log in an hour",
            "More than one an hour is a warning, more than one in ten minutes critical.",
            "none",
            (f"increase(realmkeep_store_aof_rewrites_total{HERE}[1h])", "{{instance}}"),
        ),
        graph(
            "Age of the newest backup",
            "Of the newest one, and of the newest one that a restore has verified: at most 26 hours.",
            "s",
            (f"time() - realmkeep_backup_last_success_timestamp_seconds{HERE}", "made {{instance}}"),
            (f"time() - realmkeep_backup_last_verified_timestamp_seconds{HERE}", "verified {{instance}}"),
            marks=steps((26 * 3600, ORANGE)),
        ),
        graph(
            "Troubled writes and lost data in an hour",
            "Rounds in which the fate of writes was read from the store, and records that the store had lost.",
            "none",
            (f"increase(realmkeep_recoveries_total{HERE}[1h])", "rounds {{instance}}"),
            (f"increase(realmkeep_records_healed_total{HERE}[1h])", "healed {{instance}}"),
            (f"increase(realmkeep_records_torn_total{HERE}[1h])", "torn {{instance}}"),
        ),
        graph(
            "Event loop and tick",
            "99 % of the timers and ticks are at most this late.",
            "s",
            (p99("realmkeep_loop_lag_seconds"), "event loop {{instance}}"),
            (p99("realmkeep_tick_lateness_seconds"), "tick {{instance}}"),
            marks=steps((0.1, ORANGE)),
        ),
        graph(
            "Faults of the game in an hour",
            "Hooks that raised, forgotten marks, immediate fields outside commits, changes after the end.",
            "none",
            (f"increase(realmkeep_hook_failures_total{HERE}[1h])", "hooks {{instance}}"),
            (f"increase(realmkeep_forgotten_marks_total{HERE}[1h])", "forgotten marks {{instance}}"),
            (f"increase(realmkeep_tier_violations_total{HERE}[1h])", "outside commits {{instance}}"),
            (f"increase(realmkeep_changes_after_end_total{HERE}[1h])", "after the end {{instance}}"),
        ),
    ):
        board.with_panel(panel)


def built() -> dashboard.Dashboard:
    """The dashboard: five rows, each of tiles or of graphs in two columns."""
    servers = dashboard.QueryVariable("instance").label("Server").datasource(SOURCE).multi(multi=True)
    servers.include_all(include_all=True).all_value(".*").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    servers.query("label_values(realmkeep_build_info, instance)")
    board = (
        dashboard.Dashboard("Realmkeep")
        .uid("realmkeep")
        .description("A realm at one glance: its promise, its work, its store.")
        .tags(["realmkeep"])
        .refresh("15s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Data source").type("prometheus"))
        .with_variable(servers)
    )
    for row in (overview, promise, work, players, machine):
        row(board)
    return board


def encoded() -> str:
    """As Grafana imports it."""
    return str(JSONEncoder(sort_keys=True, indent=1).encode(built().build())) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(encoded(), encoding="utf-8")
