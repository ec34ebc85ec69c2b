"""Every Python example of the pages runs; `<!-- not run: why -->` on the line before a block leaves it out."""

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
ANY_PYTHON_FENCE = re.compile(r"^[ \t>]*(?:```|~~~)[ \t]*py", re.MULTILINE | re.IGNORECASE)


def compiled_examples(text: str, name: str) -> Iterator[tuple[CodeType, bool]]:
    """Each block with its line numbers in the page, and whether it is to be run; all of them are Python."""
    for match in BLOCK.finditer(text):
        lines_before = "\n" * text.count("\n", 0, match.start("code"))
        code = compile(lines_before + match["code"], name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        yield code, match["mark"] is None


def run_examples(text: str, name: str, module: ModuleType) -> None:
    """Run the blocks of a page from top to bottom, in one module and on one event loop, as a reader would."""
    with asyncio.Runner() as runner:
        for code, is_run in compiled_examples(text, name):
            if not is_run:
                continue
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, vars(module)))
            else:
                exec(code, vars(module))


@pytest.fixture
def page_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A module that classes of an example can look up their annotations in; no kind is taken, the directory is empty."""
    module = ModuleType("example_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("realmkeep.records.definition._kinds", {})
    monkeypatch.chdir(tmp_path)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run_from_top_to_bottom(page: Path, page_module: ModuleType) -> None:
    run_examples(page.read_text(encoding="utf-8"), str(page), page_module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_python_of_a_page_escapes_by_its_fence(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(ANY_PYTHON_FENCE.findall(text)) == len(BLOCK.findall(text))


def test_an_example_that_fails_names_the_line_of_its_page(page_module: ModuleType) -> None:
    with pytest.raises(AssertionError) as caught:
        run_examples("# Page\n\n```python\nx = 1\nassert x == 3\n```\n", "page.md", page_module)
    assert (caught.traceback[-1].path, caught.traceback[-1].lineno + 1) == ("page.md", 5)


def test_later_examples_see_earlier_ones_and_await_on_one_loop(page_module: ModuleType) -> None:
    block = "```python\nimport asyncio\n{}\n```\n"
    page = "and\n".join(
        block.format(code)
        for code in (
            "event = asyncio.Event(); waiter = asyncio.ensure_future(event.wait()); await asyncio.sleep(0)",
            "event.set()",
            "heard = await waiter",
        )
    )
    run_examples(page, "page.md", page_module)
    assert vars(page_module)["heard"] is True


def test_an_example_left_out_must_be_python_and_say_why(page_module: ModuleType) -> None:
    run_examples("<!-- not run: needs a store -->\n```python\n1 / 0\n```\n", "page.md", page_module)
    with pytest.raises(SyntaxError):
        run_examples("<!-- not run: needs a store -->\n```python\n1 +\n```\n", "page.md", page_module)
    with pytest.raises(ZeroDivisionError):
        run_examples("<!-- not run -->\n```python\n1 / 0\n```\n", "page.md", page_module)


@pytest.mark.parametrize(
    "fence", ["```py", "``` python", "  ```python", "~~~python", "```Python", "```python3", "> ```python"]
)
def test_another_kind_of_fence_is_noticed(fence: str) -> None:
    page = f"{fence}\n1 / 0\n```\n"
    assert len(ANY_PYTHON_FENCE.findall(page)) != len(BLOCK.findall(page))
