"""docs/configuration.md has the table that the settings' declarations give; run this file to write it anew."""

import re
from pathlib import Path

from realmkeep.config import load_config, settings
from realmkeep.config.settings import to_toml

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"


def table() -> str:
    rows = ["| Key | Default | Allowed | Meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{key}` | `{to_toml(setting.default)}` | {setting.allowed} | {setting.meaning} |"
        for key, setting in settings().items()
    ]
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def test_the_page_has_the_settings_as_they_are_declared() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "stale: run .venv/bin/python tests/docs/test_configuration.py"


def test_the_file_of_the_page_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    path = tmp_path / "realmkeep.toml"
    path.write_text(example, encoding="utf-8")
    assert set(load_config(environ={}, path=path).sources.values()) == {str(path)}


def test_a_cell_that_would_break_the_table_is_refused() -> None:
    assert all(row.count("|") == 5 for row in table().splitlines())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
