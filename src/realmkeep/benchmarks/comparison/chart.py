"""The results as bars, in one SVG file that needs nothing else.

It brings its own background, so it is readable on a light and on a dark page, and its colours follow the reader's scheme.
"""

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from realmkeep.benchmarks.comparison.results import Figure, Part, Results, number

WIDTH: Final = 960
MARGIN: Final = 24
BARS_FROM: Final = 420  # names stand before
BARS_TO: Final = WIDTH - MARGIN - 76  # the longest bar; its value follows
HEAD: Final = 52
ROW: Final = 36
BAR: Final = 16
TITLE: Final = 46
OWN: Final = "Realmkeep"
SHOWN: Final = ("trades", "flush-always", "flush-everysec", "logins-always", "logins-everysec", "stored")
LEGEND: Final = ((0, "own", OWN), (110, "other", "other ways"), (220, "limit", "limits of the store and the disk"))

STYLE: Final = """
  .ground { fill: #ffffff; stroke: #d1d9e0; }
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 15px; }
  .how { fill: #59636e; font-size: 11px; }
  .own { fill: #0969da; }
  .other { fill: #8c959f; }
  .limit { fill: none; stroke: #8c959f; stroke-dasharray: 3 2; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .how { fill: #9198a1; }
    .own { fill: #4493f8; }
    .other { fill: #656c76; }
    .limit { stroke: #9198a1; }
  }
"""


def drawn(results: Results) -> str:
    """The chart: a panel of bars for each part, and the conditions of a figure below its name."""
    parts = [part for part in results.parts if part.key in SHOWN]
    height = MARGIN + HEAD + sum(TITLE + ROW * len(part.figures) for part in parts)
    machine = results.machine
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>Realmkeep and other ways, measured on {escape(results.measured_on)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        _text(
            MARGIN,
            MARGIN + 10,
            f"{results.measured_on}: {machine.processor}, {machine.cores} cores; {machine.store}",
            "how",
        ),
        *(line for left, kind, name in LEGEND for line in _legend(MARGIN + left, kind, name)),
    ]
    top = MARGIN + HEAD
    for part in parts:
        lines += _panel(part, top)
        top += TITLE + ROW * len(part.figures)
    return "\n".join([*lines, "</svg>", ""])


def _legend(left: int, kind: str, name: str) -> Iterator[str]:
    yield f'<rect class="{kind}" x="{left}" y="{MARGIN + 22}" width="12" height="12" rx="2"/>'
    yield _text(left + 18, MARGIN + 32, name, "how")


def _panel(part: Part, top: int) -> Iterator[str]:
    yield _text(MARGIN, top + 20, f"{part.title}, {part.figures[0].unit}", "title")
    longest = max(figure.value for figure in part.figures)
    for row, figure in enumerate(part.figures):
        yield from _bar(figure, top + TITLE - 14 + ROW * row, longest)


def _bar(figure: Figure, top: int, longest: float) -> Iterator[str]:
    yield _text(MARGIN, top + 13, figure.way, "")
    yield _text(MARGIN, top + 27, f"{figure.at_once:,} at once; {figure.pipelining}; fsync: {figure.fsync}", "how")
    is_own = figure.way.startswith(OWN) or figure.key.startswith("stored")
    kind = "limit" if figure.is_limit else "own" if is_own else "other"
    width = max(1.0, (BARS_TO - BARS_FROM) * figure.value / longest)
    yield f'<rect class="{kind}" x="{BARS_FROM}" y="{top + 4}" width="{width:.1f}" height="{BAR}" rx="2"/>'
    yield _text(BARS_FROM + width + 6, top + 17, number(figure.value), "")


def _text(x: float, y: float, text: str, kind: str) -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{named}>{escape(text)}</text>'
