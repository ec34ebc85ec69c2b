"""The live map of the realm in its console: zones, players, monsters, and trades as they happen."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import Markup
from starlette.responses import Response, StreamingResponse

from realmkeep.operations.console import Page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from realmkeep.operations.console import Visit
    from realmkeep.realm.server.game import Game
    from realmkeep.realm.world.content import ZoneKind

FRAME_S: Final = 0.25
STREAM_S: Final = 300.0  # then the browser asks again, and the login is looked at again
SHOWN_MAX: Final = 2000  # of a zone: a frame is made within about a millisecond
SCRIPT: Final = Path(__file__).with_name("live_map.js").read_bytes()  # with this module: no request waits for a disk
STYLE: Final = Path(__file__).with_name("live_map.css").read_bytes()
BODY: Final = """
<link rel="stylesheet" href="{}">
<p id="map-told" class="kept">Waiting for the realm.</p>
<div class="map">
  <div><canvas id="map" role="img" aria-label="Map of the realm: zones, players, monsters and trades; the lists beside it say the same"
    data-world="{}" data-events="{}" data-player="{}"></canvas></div>
  <aside class="panel">
    <h2>Trades as they become durable</h2>
    <ol id="map-trades"><li class="none">none since this page was opened</li></ol>
    <h2>Zones</h2>
    <ul id="map-zones"></ul>
    <p><small><span class="key player"></span>a player; its ring is its health<br><span class="key monster"></span>a monster<br>
    <span class="key trade"></span>a trade that has just become durable</small></p>
  </aside>
</div>
<script src="{}" defer></script>
"""


class LiveMap:
    """The pages of the map.

    Args:
        game: The running realm.
        is_stopping: Whether the realm is about to end; a stream ends then.
    """

    def __init__(self, game: Game, is_stopping: Callable[[], bool]) -> None:
        self._game = game
        self._is_stopping = is_stopping
        self._frame = b""
        self._made_s = -FRAME_S

    def pages(self) -> Iterable[Page]:
        """The map, and what it asks for."""
        return (
            Page("/map", "Live map", self._show),
            Page("/map/map.js", "", self._script),
            Page("/map/map.css", "", self._style),
            Page("/map/world", "", self._world),
            Page("/map/events", "", self._events),
        )

    async def _show(self, visit: Visit) -> Response:
        style, world, events, script = [visit.at(f"/map/{name}") for name in ("map.css", "world", "events", "map.js")]
        body = Markup(BODY).format(style, world, events, visit.at("/players/ID"), script)  # noqa: S704 - a constant; its values are escaped
        return visit.page("Live map", body)

    async def _script(self, _: Visit) -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    async def _style(self, _: Visit) -> Response:
        return Response(STYLE, media_type="text/css")

    async def _world(self, _: Visit) -> Response:
        zones = [
            {
                "name": name,
                "safe": kind.safe,
                "box": (kind.west, kind.north, kind.east, kind.south),
                "marks": [*_marks(kind)],
            }
            for name, kind in self._game.world.zones.items()
        ]
        return Response(msgspec.json.encode({"zones": zones}), media_type="application/json")

    async def _events(self, _: Visit) -> Response:
        return StreamingResponse(self._frames(), media_type="text/event-stream")

    async def _frames(self) -> AsyncGenerator[bytes]:
        clock = self._game.clock
        until_s = clock.monotonic_s() + STREAM_S
        while clock.monotonic_s() < until_s and not self._is_stopping():
            yield self.frame()
            await clock.sleep(FRAME_S)

    def frame(self) -> bytes:
        """The event of this moment; one for all who look."""
        now_s = self._game.clock.monotonic_s()
        if now_s - self._made_s >= FRAME_S:
            self._frame, self._made_s = b"data: " + msgspec.json.encode(self._present()) + b"\n\n", now_s
        return self._frame

    def _present(self) -> dict[str, Any]:
        places = self._game.places.by_name.values()
        return {
            "present": sum(len(place.present) for place in places),
            "players": [
                (player.player_id, round(player.x, 1), round(player.y, 1), round(player.hp / player.max_hp, 2))
                for place in places
                for player in islice(place.present.values(), SHOWN_MAX)
            ],
            "monsters": [
                (round(monster.x, 1), round(monster.y, 1), monster.target)
                for place in places
                for monster in place.monsters.values()
                if monster.alive
            ],
            "trades": [*self._game.trades.completed],
        }


def _marks(kind: ZoneKind) -> Iterator[tuple[str, float, float]]:
    """The shops, banks and givers of quests in a zone: a word and a place each."""
    for what, places in (("shop", kind.shops), ("bank", kind.banks), ("quests", kind.givers)):
        yield from ((what, place.x, place.y) for place in places)
