"""A link between the pages that names a place leads to a heading; the site's build would say so only after half a minute."""

import re
from pathlib import Path

from website.pages import FENCE, ROOT, page_of_each_file

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor of a heading, as the site makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def text_of(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def dead_anchors(page: Path, text: str) -> list[str]:
    found: list[str] = []
    for file, anchor in LINK.findall(text):
        target = page if not file else (page.parent / file).resolve()
        if anchor not in {slug(heading) for heading in HEADING.findall(text_of(target))}:
            found.append(f"{page.name}: {file}#{anchor}")
    return found


def test_every_link_to_a_heading_leads_to_one() -> None:
    pages = [ROOT / file for file in page_of_each_file() if file.endswith(".md")]
    assert [dead for page in pages for dead in dead_anchors(page, text_of(page))] == []


def test_a_heading_that_is_gone_is_noticed() -> None:
    text = "[a](docs/keeping.md#commits) [b](docs/keeping.md#no-such-heading) [c](#neither)"
    assert dead_anchors(ROOT / "README.md", text) == [
        "README.md: docs/keeping.md#no-such-heading",
        "README.md: #neither",
    ]
