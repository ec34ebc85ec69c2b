"""Faults of the network: between clients and servers, and between servers and a store that is reached over a connection."""

from typing import Final

from realmkeep.drill.faults.fault import Fault, Harm, registered
from realmkeep.drill.faults.stores import until
from realmkeep.drill.link import Link, Weather

CUT_S: Final = 0.3
SILENT_S: Final = 1.5  # longer than a client or a keeper of the drill waits
RESETS: Final = 5
PIECES: Final = 10
BYTES: Final = 2000


class _Network(Fault):
    """On one side: the links to the servers, or the one to the store."""

    harm = Harm.NETWORK
    weather: Weather

    def links(self) -> list[Link]:
        realm = self.realm
        store_side = realm.store_link is not None and realm.random.random() < 0.5
        self.side = "the store" if store_side else "the servers"
        if store_side and realm.store_link is not None:
            return [realm.store_link]
        return list(realm.links.values())

    def felt(self, links: list[Link]) -> int:
        return sum(link.felt[self.weather] for link in links)

    async def suffer(self, links: list[Link], enough: int) -> int:
        """Have this weather until so much of it was felt; return how much."""
        before = self.felt(links)
        for link in links:
            link.weather = self.weather

        async def felt() -> bool:
            return self.felt(links) >= before + enough

        try:
            await until(self, felt, f"the network is {self.weather.value}")
        finally:
            for link in links:
                link.weather = Weather.CLEAR
        return self.felt(links) - before


@registered
class NetworkCut(_Network):
    """Every connection is reset at once, and none can be made for a while."""

    name = "network-cut"
    what = "every connection to the servers, or to the store, is reset, and new ones are refused for 0.3 s"
    weather = Weather.CUT
    sudden = True

    async def begin(self) -> None:
        """Cut, and refuse."""
        links = self.links()
        for link in links:
            link.weather = self.weather
        cut = sum(link.cut() for link in links)
        await self.realm.clock.sleep(CUT_S)
        for link in links:
            link.weather = Weather.CLEAR
        if cut:
            self.saw(f"{cut} connections to {self.side} were reset")

    async def end(self) -> None:
        """Connect again."""
        await self.realm.connect_again()


@registered
class HalfOpen(_Network):
    """No byte arrives, and nothing is closed: only a time limit can tell."""

    name = "network-half-open"
    what = "connections to the servers, or to the store, stay open for 1.5 s and bring nothing"
    weather = Weather.SILENT

    async def begin(self) -> None:
        """Swallow everything."""
        links = self.links()
        before = self.felt(links)
        for link in links:
            link.weather = self.weather
        await self.realm.clock.sleep(SILENT_S)
        for link in links:
            link.weather = Weather.CLEAR
            link.cut()
        if swallowed := self.felt(links) - before:
            self.saw(f"{swallowed} pieces to or from {self.side} were swallowed")

    async def end(self) -> None:
        """Connect again."""
        await self.realm.connect_again()


@registered
class NetworkSlow(_Network):
    """A long line."""

    name = "network-slow"
    what = "each piece of data to or from the servers, or the store, arrives 0.1 s late"
    weather = Weather.SLOW

    async def begin(self) -> None:
        """Delay some pieces."""
        late = await self.suffer(self.links(), PIECES)
        self.saw(f"{late} pieces to or from {self.side} were late")


@registered
class NetworkReset(_Network):
    """The request has arrived, and its answer does not."""

    name = "network-reset"
    what = "connections are reset between a request and its answer, five times"
    weather = Weather.RESETS

    async def begin(self) -> None:
        """Reset, and connect again, several times."""
        links = self.links()
        for _ in range(RESETS):
            link = self.realm.random.choice(links)
            await self.suffer([link], 1)
            await self.realm.connect_again()
        self.saw(f"{RESETS} connections to {self.side} were reset before an answer")


@registered
class NetworkDrips(_Network):
    """Readers must not count on whole messages."""

    name = "network-drips"
    what = "data to and from the servers, or the store, arrives byte by byte"
    weather = Weather.DRIPS

    async def begin(self) -> None:
        """Let some thousand bytes drip."""
        dripped = await self.suffer(self.links(), BYTES)
        self.saw(f"{dripped} bytes to or from {self.side} arrived one by one")


@registered
class NetworkDoubles(_Network):
    """Clients that send again too early do the same."""

    name = "network-doubles"
    what = "each request with an operation arrives twice at its server"
    weather = Weather.DOUBLES

    async def begin(self) -> None:
        """Double some requests."""
        self.side = "the servers"
        self.realm.crowd.doublings += 1
        try:
            doubled = await self.suffer(list(self.realm.links.values()), PIECES)
        finally:
            self.realm.crowd.doublings += 1
        self.saw(f"{doubled} requests arrived twice")


@registered
class ClientsVanish(Fault):
    """They have sent requests, and read no answer."""

    name = "clients-vanish"
    what = "every client is gone at once, with requests unanswered; later each sends them again"
    harm = Harm.CLIENTS
    sudden = True

    async def begin(self) -> None:
        """End every connection while requests are on it."""
        realm = self.realm
        lines = realm.lines
        await realm.crowd.until(lambda: any(line.unanswered for line in lines.values()), "requests are on their way")
        unanswered = 0
        for name in [*lines]:
            unanswered += await lines[name].vanish()
        if unanswered:
            self.saw(f"connections with {unanswered} unanswered requests were ended by their clients")

    async def end(self) -> None:
        """Come back."""
        await self.realm.connect_again()
