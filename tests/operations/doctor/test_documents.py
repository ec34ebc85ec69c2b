"""docs/doctor.md lists every finding with its grade, and every finding has a test."""

import ast
import re
from pathlib import Path

from realmkeep.operations.doctor.findings import GRADES

ROOT = Path(__file__).parents[3]
STORAGE = ROOT / "src/realmkeep/storage"
SOURCES = [
    *(ROOT / "src/realmkeep/operations/doctor").glob("*.py"),
    *(STORAGE / path for path in ("redis_faults.py", "redis_url.py", "postgres/server.py", "replicated/promises.py")),
]
MAKERS = {"Finding", "StoreFault", "_settable"}


def names() -> dict[str, str]:
    """Every finding in the sources; the grade is empty where it is computed."""
    found: dict[str, str] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS):
                continue
            texts = [word.value if isinstance(word, ast.Constant) else None for word in node.args[:2]]
            if isinstance(texts[0], str):
                found[texts[0]] = texts[1] if texts[1] in GRADES else ""
    return found


def test_the_page_lists_every_finding_with_its_grade() -> None:
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (\w+)", page, re.MULTILINE))
    assert listed.keys() == names().keys()
    assert {name: listed[name] for name, grade in names().items() if grade} == {
        name: grade for name, grade in names().items() if grade
    }


def test_every_finding_is_triggered_by_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert len(names()) > 40
    assert [name for name in names() if f'"{name}"' not in tests.replace("OF_THE_MACHINE", "")] == []
