"""Every Python example in README.md and docs/ runs; `<!-- not run: why -->` before a block leaves it out."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


def examples(page: Path) -> list[str]:
    return [match["code"] for match in BLOCK.finditer(page.read_text()) if not match["mark"]]


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_the_examples_of_a_page_run_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": f"example_{page.stem.replace('-', '_')}"}
    for code in examples(page):
        compiled = compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if compiled.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(compiled, namespace))
        else:
            exec(compiled, namespace)


def test_an_example_that_fails_fails_the_run() -> None:
    page = "```python\nassert 1 + 1 == 3\n```\n"
    (match,) = BLOCK.finditer(page)
    with pytest.raises(AssertionError):
        exec(match["code"], {})
