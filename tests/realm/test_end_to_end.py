import pytest
from server import Server


@pytest.mark.parametrize("over_udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("lisp", [False, True], ids=["json", "lisp"])
async def test_first_steps(server: Server, *, over_udp: bool, lisp: bool) -> None:
    ada = await server.player(f"ada-{over_udp}-{lisp}", over_udp=over_udp, lisp=lisp, sealed=True)
    print(ada.state)
    seen = await ada.done("look")
    print(seen)
    print(await ada.done("buy", item="bread", count=2))
    print(await ada.act("buy", item="sword", count=2))
    print(await ada.act("move", x=21, y=20.0))
    await ada.logout()
