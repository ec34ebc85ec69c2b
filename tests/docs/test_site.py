"""The documentation site: what it is assembled from, and that its checks notice each kind of mistake.

`./dev docs` builds it, with packages of its own; `.ci/run` does that on the bare machine.
"""

import importlib
from pathlib import Path
from typing import Any

import pytest
from website import pages
from website.checks import problems_of
from website.pages import ROOT, Diagrams, assemble, linked, page_of_each_file
from website.reference import OF_MODULES, reference_pages

from realmkeep import errors, public


def test_every_page_is_in_the_navigation_and_every_link_between_files_leads_to_a_page(tmp_path: Path) -> None:
    assert assemble(tmp_path) == []
    assert (tmp_path / "source/index.md").read_text(encoding="utf-8").startswith("# Realmkeep")
    assert str(ROOT / "src") in (tmp_path / "zensical.toml").read_text(encoding="utf-8")


def test_a_page_that_the_navigation_leaves_out_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = page_of_each_file()
    monkeypatch.setattr(pages, "page_of_each_file", lambda: files | {"LICENSE": "licence.md"})
    assert assemble(tmp_path) == ["licence.md is not in the navigation"]


def test_links_lead_from_page_to_page_and_a_code_block_stays_as_it_is() -> None:
    reported: list[str] = []
    text = (
        "[a](docs/keeping.md#letters) [b](tests/README.md) [c](https://example.org/x.md) [d](#here) [e](src/x.py)\n"
        "```text\n[f](docs/keeping.md)\n```\n"
    )
    assert linked(text, "README.md", page_of_each_file(), reported.append) == (
        "[a](keeping.md#letters) [b](tests.md) [c](https://example.org/x.md) [d](#here) [e](src/x.py)\n"
        "```text\n[f](docs/keeping.md)\n```\n"
    )
    assert reported == ["README.md: the link to src/x.py leads to no page of the site"]
    text = "[g](../../README.md) [h](0002-records-on-msgspec.md)"
    assert linked(text, "docs/decisions/README.md", page_of_each_file(), reported.append) == (
        "[g](../index.md) [h](0002-records-on-msgspec.md)"
    )


def test_every_public_name_has_its_place_in_the_reference() -> None:
    described = "\n".join(reference_pages(ROOT / "src/realmkeep").values()).splitlines()
    for name in public.__all__:
        of_errors = name == "errors" or hasattr(errors, name)
        assert described.count(f"::: realmkeep.public.{name}") == (0 if of_errors else 1), name
    assert "::: realmkeep.errors" in described
    for module, names in OF_MODULES.items():
        of_module = importlib.import_module(f"realmkeep.{module}")
        for name in names:
            assert described.count(f"::: realmkeep.{module}.{name}") == 1, name
            assert name in vars(of_module), f"{module} has no {name}"


class Drawing:
    """Stands for the renderer, of which a test asks only where its drawing ends up."""

    def render_svg(self, text: str, options: str | None) -> str:
        assert options is None
        return f'<svg id="merman">\n<!-- {len(text)} --></svg>'


def test_a_diagram_is_drawn_with_a_name_of_its_own_and_stays_text_without_a_renderer() -> None:
    text = "before\n```mermaid\na --> b\n```\nbetween\n```mermaid\nc\n```\nafter\n"
    diagrams: Any = Diagrams()
    diagrams._renderer = None
    assert diagrams.drawn(text) == text
    diagrams._renderer = Drawing()
    drawn = diagrams.drawn(text)
    assert '<svg id="diagram-1"> <!-- 8 --></svg>' in drawn
    assert '<svg id="diagram-2"> <!-- 2 --></svg>' in drawn
    assert "a --&gt; b" in drawn
    assert [line for line in drawn.splitlines() if "<" not in line] == ["before", "between", "after"]


def site(directory: Path, body: str, **assets: str) -> list[str]:
    (directory / "folder").mkdir()
    (directory / "folder/index.html").write_text('<h1 id="top">x</h1>', encoding="utf-8")
    (directory / "index.html").write_text(f'<p id="first">{body}</p>', encoding="utf-8")
    for name, text in assets.items():
        (directory / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return problems_of(directory)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="#first">x</a>',
        '<a href="folder/#top">x</a> <a href="./folder/index.html">x</a> <a href="extra.css">x</a>',
        '<a href="https://example.org/x#y">elsewhere, when asked</a> <a href="mailto:ada@example.org">x</a>',
        '<img src="data:image/gif;base64,AA"> <link rel="canonical" href="https://example.org/">',
    ],
)
def test_what_is_right_is_let_through(tmp_path: Path, body: str) -> None:
    assert site(tmp_path, body, extra_css="p { background: url(x.png) }") == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "the link gone.html leads to no page"),
        ('<a href="../outside.html">x</a>', "the link ../outside.html leads to no page"),
        ('<a href="/index.html">x</a>', "the link /index.html leads to no page"),
        ('<a href="#gone">x</a>', "the link #gone leads to no place in its page"),
        ('<a href="folder/#first">x</a>', "the link folder/#first leads to no place in its page"),
        ('<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js"),
        ('<img src="//example.org/x.png">', "loads //example.org/x.png"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "loads https://example.org/x.css"),
        ('<link rel="preconnect" href="https://example.org">', "loads https://example.org"),
        ('<p style="background: url(https://example.org/x)">', "loads https://example.org/x"),
        ("<style>@import 'https://example.org/x.css';</style>", "loads https://example.org/x.css"),
        ('<script>import("https://example.org/x.js")</script>', "loads https://example.org/x.js"),
        ('<pre class="mermaid">a</pre>', "an element of class mermaid makes the theme load a script"),
    ],
)
def test_a_dead_link_and_whatever_is_loaded_from_elsewhere_are_noticed(tmp_path: Path, body: str, problem: str) -> None:
    assert site(tmp_path, body) == [f"index.html: {problem}"]


def test_what_a_style_sheet_or_a_script_would_load_is_noticed_and_what_sleeps_in_the_theme_is_not(
    tmp_path: Path,
) -> None:
    assert site(
        tmp_path,
        "",
        extra_css='@import "https://example.org/x.css"; p { background: url(//example.org/x.png) }',
        extra_js='fetch("https://example.org/x"); if (mermaid) load("https://unpkg.com/mermaid@11/x.js")',
    ) == [
        "extra.css: loads https://example.org/x.css",
        "extra.css: loads //example.org/x.png",
        "extra.js: loads https://example.org/x",
    ]


def test_a_site_without_a_page_is_no_site(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == ["there is no page"]
