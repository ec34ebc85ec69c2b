"""The pages of the site: the Markdown files of the repository, with their links rewritten, and the reference."""

import html
import importlib
import importlib.util
import json
import posixpath
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from website.reference import reference_pages

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
FOLDERS_OF_DOCS: Final = ("decisions",)
ASSETS: Final = ("extra.css", "iframe-worker.js")
OTHER_PAGES: Final = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "tests/README.md": "tests.md",
    "docs/decisions/README.md": "decisions/index.md",
    "examples/arena.py": "arena.md",
    "examples/browser_arena.py": "browser-arena.md",
}
FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\((?!\w+:)([^)#\s]+)((?:#[^)\s]*)?)\)")
DIAGRAM: Final = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE: Final = re.compile(r"^# (?:\d+[:.] )?")
ALL_OF_A_FOLDER: Final = re.compile(r'"([\w-]+)/\*\.md"')


def page_of_each_file() -> dict[str, str]:
    """The Markdown files of the repository that are pages: path in the repository, path on the site."""
    pages = dict(OTHER_PAGES)
    for folder in ("", *FOLDERS_OF_DOCS):
        for path in sorted((ROOT / "docs" / folder).glob("*.md")):
            pages.setdefault(f"{PurePosixPath('docs', folder, path.name)}", f"{PurePosixPath(folder, path.name)}")
    return pages


def drawings() -> dict[str, str]:
    """The drawings beside the pages: path in the repository, path on the site."""
    return {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.svg"))}


def assemble(build: Path) -> list[str]:
    """Write the sources of the site and its configuration into `build`.

    Returns:
        Their problems, one line each.
    """
    source = build / "source"
    source.mkdir(parents=True)
    problems: list[str] = []
    pages = page_of_each_file()
    diagrams = Diagrams()
    texts = {
        page: diagrams.drawn(linked(markdown_of(ROOT / file), file, pages | drawings(), problems.append))
        for file, page in pages.items()
    } | reference_pages(ROOT / "src" / "realmkeep")
    for page, text in texts.items():
        path = source / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for asset in (*(HERE / name for name in ASSETS), *(ROOT / file for file in drawings())):
        shutil.copy(asset, source)
    configuration = (HERE / "zensical.toml").read_text(encoding="utf-8")
    configuration = ALL_OF_A_FOLDER.sub(lambda found: _all_of(found[1], texts), configuration)
    (build / "zensical.toml").write_text(configuration.replace("@root@", ROOT.as_posix()), encoding="utf-8")
    return problems + [f"{page} is not in the navigation" for page in texts if f'"{page}"' not in configuration]


def markdown_of(file: Path) -> str:
    """The text of a Markdown file; a program as a page."""
    text = file.read_text(encoding="utf-8")
    return text if file.suffix == ".md" else f"# {file.name}\n\n```python\n{text}```\n"


def linked(text: str, file: str, pages: dict[str, str], report: Callable[[str], object]) -> str:
    """`text` with its links between files as links between pages.

    Args:
        text: Markdown.
        file: Its path in the repository.
        pages: As `page_of_each_file` and `drawings` have them.
        report: Called with a link that leads to no page.
    """
    here = PurePosixPath(pages[file]).parent

    def relinked(found: re.Match[str]) -> str:
        target = posixpath.normpath(f"{PurePosixPath(file).parent / found[1]}")
        if target not in pages:
            report(f"{file}: the link to {found[1]} leads to no page of the site")
            return found[0]
        return f"]({posixpath.relpath(pages[target], here)}{found[2]})"

    parts: list[str] = []
    end = 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(relinked, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(relinked, text[end:])])


class Diagrams:
    """Mermaid diagrams as pictures inside the page: a browser would fetch the renderer from elsewhere.

    The renderer has wheels for some platforms alone. Elsewhere a diagram stays the text that it is.
    """

    def __init__(self) -> None:
        is_here = importlib.util.find_spec("merman") is not None
        self._renderer: Any = importlib.import_module("merman").Merman() if is_here else None
        self._drawn = 0

    def drawn(self, text: str) -> str:
        """`text` with its diagrams drawn; each is followed by its own text, which a reader can unfold."""
        return DIAGRAM.sub(self._draw, text) if self._renderer else text

    def _draw(self, found: re.Match[str]) -> str:
        self._drawn += 1
        drawing: str = self._renderer.render_svg(found[1], None)
        drawing = re.sub(r"\bmerman\b", f"diagram-{self._drawn}", drawing).replace("\n", " ")
        told = f"<details><summary>As text</summary><pre>{html.escape(found[1])}</pre></details>"
        return f'<div class="diagram">{drawing}{told.replace(chr(10), "&#10;")}</div>'


def _all_of(folder: str, pages: dict[str, str]) -> str:
    """The pages of a folder for the navigation, with the number of each file before its title."""
    found = [page for page in sorted(pages) if page.startswith(f"{folder}/") and not page.endswith("/index.md")]
    titles = [f"{PurePosixPath(page).name[:4]} {TITLE.sub('', pages[page].partition(chr(10))[0])}" for page in found]
    return ", ".join(f'{{ {json.dumps(title)} = "{page}" }}' for title, page in zip(titles, found, strict=True))
