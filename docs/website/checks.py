"""Checks of the built site: every link and anchor leads to a place, and no page loads anything from another host."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADS: Final = {"src", "srcset", "poster", "data", "background"}  # attributes that make a browser fetch
LOADING_LINKS: Final = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "manifest",
}
CSS_LOAD: Final = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s;]+)""")
JS_URL: Final = re.compile(r"""["'`]((?:https?:)?//[\w.-]+\.\w+[^"'`\s]*)""")

# What the theme's script would load, and the class of the element that makes it do so: no page may have one.
ASLEEP: Final = {
    "https://unpkg.com/mermaid@": "mermaid",
    "https://unpkg.com/pyodide@": "pyodide",
    "https://cdn.jsdelivr.net/pyodide/": "pyodide",
    "https://unpkg.com/ace-builds@": "pyodide",
    "https://unpkg.com/glightbox@": "glightbox",
    "https://api.github.com/": "md-source",  # a link to a repository on that host
    "https://unpkg.com/resize-observer-polyfill": "",  # a browser from before 2020
    "http://www.w3.org/": "",  # names of XML, not places
}
WAKING: Final = frozenset(ASLEEP.values()) - {""}


class Page(HTMLParser):
    """One page: its links, its anchors, and the addresses that it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.waking: set[str] = set()
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the anchors, the links and the loads of one element."""
        said = {name: value or "" for name, value in attrs}
        self._inside = tag
        self.anchors |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if tag == "link" and LOADING_LINKS & {*said.get("rel", "").split()}:
            self.loads.append(said.get("href", ""))
        self.waking |= WAKING & {*said.get("class", "").split()}
        self.loads += [value for name, value in said.items() if name in LOADS]
        self.loads += CSS_LOAD.findall(said.get("style", ""))

    def handle_data(self, data: str) -> None:
        """Note the loads of a style or a script inside the page."""
        if self._inside == "style":
            self.loads += CSS_LOAD.findall(data)
        elif self._inside == "script":
            self.loads += JS_URL.findall(data)

    def handle_endtag(self, tag: str) -> None:
        """Treat the data that follows as text."""
        self._inside = ""


def problems_of(site: Path) -> list[str]:
    """The problems of the site in this directory, one line each."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    problems = [] if pages else ["there is no page"]
    for path, page in pages.items():
        name = path.relative_to(site)
        problems += [f"{name}: loads {load}" for load in page.loads if is_elsewhere(load)]
        problems += [
            f"{name}: an element of class {each} makes the theme load a script" for each in sorted(page.waking)
        ]
        problems += [f"{name}: {problem}" for link in page.links if (problem := problem_of(link, path, site, pages))]
    return problems + [f"{path.relative_to(site)}: loads {load}" for path, load in _loads_of_assets(site)]


def problem_of(link: str, path: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    """Why this link of the page at `path` leads nowhere; None if it leads somewhere, or to another site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    target = target / "index.html" if target.is_dir() else target
    if not target.is_relative_to(site.resolve()) or not target.exists():
        return f"the link {link} leads to no page"
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in pages[target].anchors:
        return f"the link {link} leads to no place in its page"
    return None


def is_elsewhere(load: str) -> bool:
    """Whether a browser that loads this asks another host."""
    parts = urlsplit(load.strip())
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _loads_of_assets(site: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(site.rglob("*.css")):
        yield from ((path, load) for load in CSS_LOAD.findall(path.read_text(encoding="utf-8")))
    for path in sorted(site.rglob("*.js")):
        loads: list[str] = JS_URL.findall(path.read_text(encoding="utf-8"))
        yield from ((path, load) for load in loads if not load.startswith(tuple(ASLEEP)))
