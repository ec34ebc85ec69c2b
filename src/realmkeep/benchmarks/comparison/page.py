"""The results as Markdown, between two marks of a page, and as a drawing beside the page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from realmkeep.benchmarks.comparison.chart import drawn
from realmkeep.benchmarks.comparison.results import Aim, Figure, Part, Results, number
from realmkeep.errors import Misuse

BEGIN: Final = "<!-- The rest is written by ./dev bench from benchmarks/results.json. -->"


def write_results(results: Results, path: Path) -> None:
    """Write the results as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        Misuse: There are no results in the file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise Misuse(f"{path} has no results: {error}", hint="run ./dev bench, which writes them") from error


def write_page(results: Results, page: Path) -> None:
    """Replace the end of a page, from its mark on, and the drawing beside it.

    Args:
        results: The results.
        page: A Markdown file with the line `BEGIN`; the drawing has its name with the suffix `.svg`.

    Raises:
        Misuse: The page has no such line.
    """
    head, mark, _ = page.read_text(encoding="utf-8").partition(BEGIN)
    if not mark:
        raise Misuse(f"{page} has no place for the results", hint=f"add the line {BEGIN}")
    page.write_text(f"{head}{BEGIN}\n\n{written(results, page.with_suffix('.svg').name)}", encoding="utf-8")
    page.with_suffix(".svg").write_text(drawn(results), encoding="utf-8")


def written(results: Results, drawing: str = "") -> str:
    """The results as Markdown, with a link to the drawing if there is one."""
    chart = f"![Trades, saved players, logins and costs as bars; the tables below have the figures]({drawing})"
    return "\n".join(
        [
            *([chart, ""] if drawing else []),
            *_machine(results),
            "## Aims",
            "",
            *_aims(results.aims),
            "",
            *(line for part in results.parts for line in table(part)),
        ]
    )


def _machine(results: Results) -> Iterator[str]:
    machine = results.machine
    yield (
        f"Measured on {results.measured_on} at commit {results.commit}: {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gib:g} GiB, {machine.system}, {machine.disk}; {machine.python}; {machine.store}. "
        f"{results.rounds} rounds, {results.seconds:g} s a way and round. The load of the machine before: "
        f"{machine.load_before:g}."
    )
    yield ""
    for missing in results.not_run:
        yield f"NOT RUN: {missing}."
        yield ""


def _aims(aims: Sequence[Aim]) -> Iterator[str]:
    yield "| Aim | Measured | Bound | Holds |"
    yield "|---|---:|---:|---|"
    for aim in aims:
        holds = {True: "yes", False: "**no**", None: "not measured"}[aim.holds]
        measured = "" if aim.value is None else number(aim.value)
        yield f"| {aim.name} | {measured} | {'≥' if aim.is_at_least else '≤'} {number(aim.target)} | {holds} |"


def table(part: Part) -> Iterator[str]:
    """The lines of one part."""
    yield f"## {part.title}"
    yield ""
    yield f"{part.work[0].upper()}{part.work[1:]}."
    yield ""
    timed = any(figure.took for figure in part.figures)
    yield f"| Way | {part.figures[0].unit} | At once | Pipelining | fsync |{' p50 | p99 |' if timed else ''}"
    yield f"|---|---:|---:|---|---|{'---:|---:|' if timed else ''}"
    for figure in part.figures:
        name = f"*{figure.way}*" if figure.is_limit else figure.way
        row = f"| {name} | {number(figure.value)} | {figure.at_once:,} | {figure.pipelining} | {figure.fsync} |"
        yield row + (_took(figure) if timed else "")
    yield ""
    if part.spreads:
        yield "| Milliseconds | p50 | p99 | p99.9 | max |"
        yield "|---|---:|---:|---:|---:|"
        for named in part.spreads:
            values = " | ".join(number(value) for value in msgspec.structs.astuple(named.spread))
            yield f"| {named.name} | {values} |"
        yield ""


def _took(figure: Figure) -> str:
    if figure.took is None:
        return " | |"
    return f" {number(figure.took.p50_ms)} ms | {number(figure.took.p99_ms)} ms |"
