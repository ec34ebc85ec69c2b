"""A console without a network, and a browser without a screen."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import msgspec

from keeping.game import Player
from operations.operators.people import PASSWORD, PLAYERS
from realmkeep import Record, durable
from realmkeep.accounts import Accounts, Argon2Cost, hash_password, open_accounts
from realmkeep.accounts.account import Account
from realmkeep.config import AuthConfig, BackupConfig, Config, ConsoleConfig
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.console import Console, Page, console
from realmkeep.operations.console.routes import ConsoleRoute
from realmkeep.operations.operators.notes import Note
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.operators import Operators
from realmkeep.operations.operators.players import LiveGame
from realmkeep.operations.operators.roles import Role
from realmkeep.storage import Append, Committed, Put, Transaction
from realmkeep.testing.lab import Lab

HOST = "127.0.0.1:9465"
HASHED = hash_password(PASSWORD, Argon2Cost(memory_kib=1024, passes=1, lanes=1))  # each test signs operators in


HOSTILE = "<img src=x onerror=alert(1)>"
PARTS = {
    "id": "7",
    "name": "ada",
    "key": "rover:9",
    "token": "x",
    "report": "doctor",
    "act": "0" * 16,
    "board": "jumps",
}  # of the paths in the table


def path_of(route: ConsoleRoute) -> str:
    """The path of a route for the things of `hostile_things`; a new parameter of a path needs an entry in `PARTS`."""
    return re.sub(r"\{(\w+)\}", lambda found: quote(PARTS[found[1]], safe=""), route.path)


async def hostile_things(keeper: Keeper) -> None:
    """A live player 7 with a hostile name and a note, her account `ada`, and a record that cannot be used; and a board."""
    engine = engine_of(keeper)
    await keeper.login(Player, 7, create=lambda: Player(name=HOSTILE, gold=10))
    jumper = await keeper.login(Jumper, 3, create=Jumper)
    jumper.record.points = 4711
    await keeper.board("jumps").top()
    accounts = UnownedRecords(Account, engine.storage, clock=engine.clock)
    await accounts.create("ada", Account(username="ada", character_ids=[7], locked=HOSTILE, password_hash="x"))
    note = msgspec.json.encode(Note(1, HOSTILE, HOSTILE))
    copy = b'{"version":1,"name":"%s","gold":-1}' % HOSTILE.encode()
    effects = [Append("rover:7:notes", note), Put("rover:9", copy), Put(f"corrupt:rover:9:{'0' * 16}", copy)]
    assert await engine.storage.write([Transaction((), effects)]) == [Committed()]


class Jumper(Record, kind="console-jumper", version=1):
    """A record on a board."""

    points: int = durable(default=0, ranked="jumps")


@dataclass
class Answer:
    """An answer of the console; its headers by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Browser:
    """Asks as a browser would, and keeps the cookie of a login."""

    app: Any
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    scheme: str = "http"
    root: str = ""

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers)

    async def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        sent = {"sec_fetch_site": "same-origin", "origin": f"{self.scheme}://{HOST}"} | headers
        return await self.ask("POST", path, sent, urlencode(form or {}).encode())

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """Send a request; a header without a value is left out."""
        sent = {"host": HOST, **self.headers, **headers} | ({"cookie": self.cookie} if self.cookie else {})
        path, _, query = path.partition("?")
        answered: list[Any] = []
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            return next(asked, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            answered.append(message)

        scope = {
            "type": "http",
            "method": method,
            "scheme": self.scheme,
            "path": unquote(self.root + path),
            "root_path": self.root,
            "query_string": query.encode(),
            "headers": [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in sent.items() if v],
            "server": ("127.0.0.1", 9465),
            "client": ("127.0.0.1", 50000),
            "http_version": "1.1",
        }
        await self.app(scope, receive, send)
        told = {name.decode().lower(): value.decode() for name, value in answered[0]["headers"]}
        if set_cookie := told.get("set-cookie"):
            self.cookie = "" if "Max-Age=0" in set_cookie else set_cookie.partition(";")[0]
        return Answer(answered[0]["status"], told, b"".join(each.get("body", b"") for each in answered[1:]))

    async def sign_in(self, name: str, password: str = PASSWORD, **form: str) -> Answer:
        return await self.post("/login", {"name": name, "password": password, **form})


@dataclass
class Realm:
    """A lab with a console; its operators are named after their roles."""

    lab: Lab
    accounts: Accounts
    app: Console
    operators: Operators

    async def browser(self, role: Role | None) -> Browser:
        """A browser in which an operator of this role is signed in; None: nobody."""
        made = Browser(self.app)
        if role is not None:
            assert (await made.sign_in(role.word)).status == 303
        return made


@asynccontextmanager
async def realm(
    lab: Lab,
    directory: Path,
    *,
    operators: bool = True,
    pages: Iterable[Page] = (),
    live: LiveGame | None = None,
    settings: ConsoleConfig | None = None,
    config: Config | None = None,
    records: Iterable[type[Record]] = (Jumper,),
) -> AsyncGenerator[Realm]:
    """A realm with an operator of each role, or with none, and its console."""
    auth = AuthConfig(hash="pbkdf2-sha256", key_file=str(directory / "keys"))
    base = config or Config(backup=BackupConfig(directory=str(directory / "backups")))
    config = msgspec.structs.replace(base, auth=auth, console=settings or ConsoleConfig())
    storage = engine_of(lab.keeper).storage
    accounts = await asyncio.to_thread(partial(open_accounts, storage, auth, server_name="lab-1", clock=lab.clock))
    book = Operators(storage, auth, lab.clock, server="lab-1")
    if operators:
        stored = UnownedRecords(Operator, storage, clock=lab.clock)
        for role in Role:
            await stored.create(role.word, Operator(name=role.word, role=role.word, password_hash=HASHED))
    app = console(lab.keeper, accounts, PLAYERS, config=config, pages=pages, live=live, records=records)
    yield Realm(lab, accounts, app, book)
