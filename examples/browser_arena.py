"""An arena for browsers: WebSockets on Starlette, and its page, in one file.

Start it with `python examples/browser_arena.py`, and open http://127.0.0.1:7789 in two windows. Kill the server with
`kill -9` and start it again: the pages reconnect, and no player has lost gold.

The page numbers its operations and keeps those that have no answer yet; after a reconnection it sends them again. An
operation that was applied before is answered with its result.
"""

import asyncio
import sys
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from realmkeep import (
    CHECKPOINT,
    IMMEDIATE,
    Ack,
    Keeper,
    KeeperConfig,
    Op,
    Receipt,
    Record,
    Rejected,
    Session,
    answer,
    durable,
)
from realmkeep.asgi import AsgiKeeper
from realmkeep.errors import RealmkeepError

SIZE: Final = 20  # fields a side
REACH: Final = 2
TRY_AGAIN, ELSEWHERE, GOODBYE = 1012, 4001, 4002  # a connection's end: a page comes back by itself after the first


class Fighter(Record, kind="browser-fighter", version=1):
    """A player: each field says how soon it must be durable."""

    gold: int = durable(default=50, ge=0, tier=IMMEDIATE)  # changes in a commit alone
    hp: int = durable(default=30, ge=0, le=30)  # within 30 s
    x: int = durable(default=0, tier=CHECKPOINT)  # within 60 s
    y: int = durable(default=0, tier=CHECKPOINT)


def strike(attacker: Fighter, victim: Fighter) -> str:
    """A blow; the last one takes 10 gold, and the victim rises in the corner. Both records change, or none does."""
    if max(abs(attacker.x - victim.x), abs(attacker.y - victim.y)) > REACH:
        raise ValueError("too far away")
    if victim.hp > 10:
        victim.hp -= 10
        return "a hit"
    loot = min(10, victim.gold)
    attacker.gold += loot
    victim.gold -= loot
    victim.hp, victim.x, victim.y = 30, 0, 0
    return f"a kill: {loot} gold"


def pay(payer: Fighter, payee: Fighter) -> str:
    """Below zero the commit is refused: `ge=0`."""
    payer.gold -= 5
    payee.gold += 5
    return "paid 5 gold"


class Arena:
    """The pages of the connected players."""

    def __init__(self, kept: AsgiKeeper) -> None:
        self.kept = kept
        self.changes: dict[WebSocket, asyncio.Event] = {}

    def changed(self) -> None:
        """Show every page the arena. A page with a slow line misses steps, and holds up no other."""
        for change in self.changes.values():
            change.set()

    async def show(self, page: WebSocket, change: asyncio.Event) -> None:
        """Send the arena to one page whenever it has changed."""
        while True:
            await change.wait()
            change.clear()
            fighters = [(session.id, session.record) for session in self.kept.keeper.sessions(Fighter)]
            shown = [{"name": name, "x": f.x, "y": f.y, "hp": f.hp, "gold": f.gold} for name, f in fighters]
            await page.send_json({"arena": shown})

    async def hear(self, me: Session[Fighter], said: object) -> dict[str, object]:
        """Carry out one message of a page, and return the answer."""
        match said:
            case {"move": [int(dx), int(dy)]} if max(abs(dx), abs(dy)) == 1:
                me.record.x = min(max(me.record.x + dx, 0), SIZE - 1)  # plain assignments mark themselves
                me.record.y = min(max(me.record.y + dy, 0), SIZE - 1)
                return {"moved": [me.record.x, me.record.y]}
            case {"op": int(number), "attack": str(name)}:
                op, act = Op(number, f"attack {name}".encode()), strike
            case {"op": int(number), "pay": str(name)}:
                op, act = Op(number, f"pay {name}".encode()), pay
            case _:
                return {"no": "this cannot be done"}

        async def together() -> Receipt[str]:
            other = self.kept.keeper.session(Fighter, name)
            if other is None or other is me:
                raise ValueError("no such player is here")
            return await self.kept.keeper.commit(act, me, other, ops=(op, None))

        try:
            told = await answer(me, op, together)
        except ValueError as refused:  # by the rules of the game
            return {"op": number, "no": str(refused)}
        match told:
            case Ack(result):
                return {"op": number, "ok": result}
            case Rejected(error):
                return {"op": number, "no": str(error)}
            case undecided:  # the page keeps it, and sends it again after the next login
                return {"wait": str(undecided.error)}

    async def play(self, page: WebSocket, name: str) -> int:
        """A connection of a player, until the player logs in elsewhere or is owned by another server; the closing code."""
        me = await self.kept.keeper.login(Fighter, name, create=Fighter, take_over=True)
        connection = me.connection
        change = self.changes[page] = asyncio.Event()
        showing = asyncio.create_task(self.show(page, change))
        try:
            await page.send_json({"hello": name, "last_op": me.last_op})
            self.changed()
            while True:
                said = await page.receive_json()
                if me.ended or me.connection != connection:
                    return TRY_AGAIN if me.ended else ELSEWHERE
                try:
                    told = await self.hear(me, said)
                except RealmkeepError as error:
                    told = {"no": str(error)}
                await page.send_json(told)
                self.changed()
        finally:
            del self.changes[page]
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            me.disconnect(connection)  # 30 s of grace to come back to this very session

    async def lobby(self, page: WebSocket) -> None:
        """A new connection: its first message is the login."""
        if page.headers.get("origin") not in {None, f"http://{page.headers['host']}"}:
            await page.close()  # a page of another site may not play in this one's name
            return
        await page.accept()
        try:
            code = await self.play(page, (await page.receive_json())["login"])
        except WebSocketDisconnect:
            return
        except (RealmkeepError, ValueError, TypeError, KeyError, RecursionError) as error:
            await page.send_json({"goodbye": str(error)})
            code = GOODBYE
        await page.close(code)


async def ready(keeper: Keeper) -> None:
    """Before the first request."""
    await keeper.recover(Fighter)  # players of a run of this server that crashed


def main(store: str = "embedded:///browser-arena-data", port: str = "7789") -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code says whether everything was saved."""
    kept = AsgiKeeper(lambda: Keeper.open(store, config=KeeperConfig(name="browser-arena")), ready=ready)
    routes = [Route("/", HTMLResponse(PAGE)), WebSocketRoute("/play", Arena(kept).lobby)]
    app = Starlette(routes=routes, lifespan=kept.lifespan)
    config = uvicorn.Config(
        app, port=int(port), lifespan="on", ws="websockets-sansio", ws_max_size=4096, timeout_graceful_shutdown=5
    )
    return kept.run(uvicorn.Server(config).run)


PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Arena</title>
<style>
  body { font: 16px sans-serif; max-width: 420px; margin: 1em auto; padding: 0 1em }
  #field { position: relative; width: 400px; height: 400px; max-width: 100%; background: #cd9 }
  #field b { position: absolute; transition: all .1s; font-size: 12px } td { padding: 2px 6px } #told { min-height: 1.3em }
</style>
<form id="login"><input id="name" placeholder="your name" aria-label="your name"><button>Enter</button></form>
<p id="told">Arrow keys move. Two fields away a blow still reaches.</p>
<div id="field"></div>
<table id="players"></table>
<script>
const $ = id => document.getElementById(id), kept = sessionStorage
let line, op = 0, unanswered = JSON.parse(kept.unanswered || "{}")
const send = said => line.readyState === 1 && line.send(JSON.stringify(said))
const keep = () => kept.unanswered = JSON.stringify(unanswered)
function operate(said) { said.op = ++op; unanswered[op] = said; keep(); send(said) }
function enter(name) {
  line = new WebSocket(`ws://${location.host}/play`)
  line.onopen = () => send({login: name})
  line.onclose = e => e.code >= 4000 ? told("Goodbye: " + (e.code === 4001 ? "you play elsewhere" : $("told").textContent))
                                     : setTimeout(enter, 300, name)
  line.onmessage = e => hear(JSON.parse(e.data), name)
}
function hear(said, name) {
  if (said.hello) {
    kept.name = name; $("login").hidden = true
    op = Math.max(said.last_op, ...Object.keys(unanswered).map(Number))
    Object.values(unanswered).forEach(send)
  }
  if (said.op) { delete unanswered[said.op]; keep() }
  if (said.arena) draw(said.arena, name)
  for (const text of [said.ok, said.no, said.wait, said.goodbye]) if (text) told(text)
}
function told(text) { $("told").textContent = text }
function draw(fighters, me) {
  $("field").replaceChildren(...fighters.map(f => {
    const token = document.createElement("b")
    token.textContent = (f.name === me ? "☻ " : "☺ ") + f.name
    token.style.left = f.x * 5 + "%"; token.style.top = f.y * 5 + "%"
    return token
  }))
  $("players").replaceChildren(...fighters.map(f => {
    const row = document.createElement("tr")
    row.dataset.name = f.name
    for (const text of [f.name, f.hp + " hp", f.gold + " gold", f.x + "," + f.y]) row.insertCell().textContent = text
    if (f.name !== me) for (const [wish, text] of [["attack", "attack"], ["pay", "pay 5"]]) {
      const button = document.createElement("button")
      button.textContent = text; button.onclick = () => operate({[wish]: f.name})
      row.insertCell().append(button)
    }
    return row
  }))
}
$("login").onsubmit = e => { e.preventDefault(); enter($("name").value.trim()) }
const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}
onkeydown = e => { if (line && steps[e.key]) { e.preventDefault(); send({move: steps[e.key]}) } }
if (kept.name) enter(kept.name)
</script>
"""

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
