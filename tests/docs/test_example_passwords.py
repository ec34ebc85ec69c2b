"""A password that a document shows can be used: it keeps the server's own rules."""

import re
from pathlib import Path

from realmkeep.accounts.password_rules import PasswordRules

ROOT = Path(__file__).parents[2]
SHOWN = re.compile(r'(?:"password": |:password )"([^"]+)"')


def test_every_password_that_a_document_shows_is_one_that_a_player_may_have() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = [(page.name, password) for page in pages for password in SHOWN.findall(page.read_text(encoding="utf-8"))]
    assert shown, "the protocol's page has an example"
    for _, password in shown:
        PasswordRules(realm_name="Realmkeep").check_password(password, username="player1")
