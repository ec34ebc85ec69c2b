"""How late the tick is under each flood that a stranger or a player can send: `python tests/realm/floods.py [SECONDS] [NAME ...]`.

One server a flood, on this machine, with a memory store; the flood comes from a process of its own. Prints JSON: the lateness
of the tick at the 99th percentile, and how many times that is of the lateness without a flood (`idle`) and beside a process
that only takes a core (`busy`); how much was sent; how long a player who plays beside it waited for an answer. Addresses of
this machine are not counted by network, so nothing here is held back by that.
"""

import asyncio
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from certificates import make
from client import Client
from server import Server

from realmkeep.accounts import encrypt_auth_payload

Told = dict[str, Any]
Flood = Callable[[Told, float], int]
SOCKETS = 64


def lines(told: Told, until_s: float, line: Callable[[int], bytes], *, sockets: int = SOCKETS) -> int:
    """Lines on many connections, as fast as they are taken; a connection that is closed is opened anew."""
    sent, open_ones = 0, list[socket.socket]()
    while time.monotonic() < until_s:
        if len(open_ones) < sockets:
            with suppress(OSError):
                open_ones.append(socket.create_connection(("127.0.0.1", told["tcp"]), timeout=1))
                open_ones[-1].settimeout(0)
        for each in [*open_ones]:
            try:
                each.send(line(sent) + b"\n")
                sent += 1
                each.recv(1 << 16)
            except BlockingIOError:
                pass
            except OSError:
                each.close()
                open_ones.remove(each)
    return sent


def datagrams(told: Told, until_s: float, data: Callable[[int], bytes]) -> int:
    """Datagrams from many ports."""
    sent = 0
    ports = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    while time.monotonic() < until_s:
        for each in ports:
            each.sendto(data(sent), ("127.0.0.1", told["udp"]))
            sent += 1
    return sent


def nothing(_told: Told, until_s: float) -> int:
    time.sleep(max(0.0, until_s - time.monotonic()))
    return 0


def busy(_told: Told, until_s: float) -> int:
    """Sends nothing and takes a core: what the other floods take beside what they send."""
    turns = 0
    while time.monotonic() < until_s:
        turns += 1
    return turns


def hellos(told: Told, until_s: float) -> int:
    return datagrams(told, until_s, lambda n: b'{"type": "hello", "n": %d, "pad": "' % n + b"." * 300 + b'"}')


def half_open(told: Told, until_s: float, first: bytes = b"") -> int:
    """Connections that say nothing, or the beginning of a handshake; the oldest go when we have many."""
    opened, held = 0, list[socket.socket]()
    while time.monotonic() < until_s:
        with suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", told["tcp"]), timeout=1))
            held[-1].send(first)
            opened += 1
        if len(held) > 500:
            held.pop(0).close()
    return opened


def handshakes(told: Told, until_s: float) -> int:
    return half_open(told, until_s, b"\x16\x03\x01\x02\x00\x01\x00")


def logins(told: Told, until_s: float) -> int:
    return lines(told, until_s, lambda n: b'{"type": "login", "username": "eve%d", "password": "no-such-password"}' % n)


def tickets(told: Told, until_s: float) -> int:
    return lines(told, until_s, lambda n: b'{"type": "login", "ticket": "eve%d.%064d"}' % (n, n))


def seals(told: Told, until_s: float) -> int:
    stale = b'{"username": "eve", "password": "no-such-password", "timestamp": 1}'
    payload = encrypt_auth_payload(stale, told["auth_public_key"]).payload.encode()
    return lines(told, until_s, lambda _: b'{"type": "login", "encrypted_payload": "%s"}' % payload)


def registrations(told: Told, until_s: float) -> int:
    return lines(
        told,
        until_s,
        lambda n: b'{"type": "register", "username": "eve%d", "password": "correct-horse-%d-battery"}' % (n, n),
    )


async def playing(told: Told, until_s: float, how: Callable[[Client, float], Any], *, over_udp: bool) -> int:
    client = await Client("127.0.0.1", told["tcp"], told["udp"], over_udp=over_udp).connect()
    answer = await client.register("mallory")
    assert answer["type"] == "auth_ok", answer
    try:
        return await how(client, until_s)
    finally:
        client.drop()


async def sids_of(client: Client, until_s: float) -> int:
    """Logins under the sid of the login before."""
    done = 0
    while time.monotonic() < until_s:
        message = {"type": "login", "ticket": client.ticket}
        answer = await client.ask(message, lambda m: m["type"] in {"auth_ok", "auth_fail"})
        if answer["type"] == "auth_ok":
            client.sid, client.ticket, done = answer["sid"], answer["ticket"], done + 1
        else:
            await asyncio.sleep(answer.get("retry_after_s") or 0.1)
    return done


async def same_of(client: Client, until_s: float) -> int:
    data, sent = client.encode({"type": "ping", "t": 1}), 0
    while time.monotonic() < until_s:
        for _ in range(200):
            client.wire.send(data)
        sent += 200
        client.heard.clear()
        await asyncio.sleep(0)
    return sent


async def requests_of(client: Client, until_s: float) -> int:
    sent = 0
    while time.monotonic() < until_s:
        for number in range(20):
            client.send(
                {"type": "intent", "action": "trade_request", "op_id": sent + number + 1, "player": f"nobody{number}"}
            )
        sent += 20
        client.heard.clear()
        await asyncio.sleep(0.01)
        if client.ended:
            await client.connect()
            await client.resume()
    return sent


async def again_of(client: Client, until_s: float) -> int:
    """In and out and in again, with all that may be said each time."""
    sent = 0
    while time.monotonic() < until_s:
        await client.connect()
        if (await client.resume())["type"] == "auth_ok":
            for number in range(400):
                client.send({"type": "ping", "t": number})
            sent += 400
            await asyncio.sleep(0.01)
        client.drop()
        await asyncio.sleep(0.01)
    return sent


def player(how: Callable[[Client, float], Any], *, over_udp: bool = False) -> Flood:
    def flood(told: Told, until_s: float) -> int:
        with suppress(ConnectionError, TimeoutError):
            return asyncio.run(playing(told, until_s, how, over_udp=over_udp))
        return -1

    return flood


FLOODS: dict[str, Flood] = {
    "idle": nothing,
    "busy": busy,
    "hellos_udp": hellos,
    "half_open_tcp": half_open,
    "half_open_tls": handshakes,
    "false_logins": logins,
    "false_tickets": tickets,
    "stale_seals": seals,
    "registrations": registrations,
    "sids_udp": player(sids_of, over_udp=True),
    "identical_datagrams": player(same_of, over_udp=True),
    "trade_requests_by_name": player(requests_of),
    "messages_by_login_again": player(again_of),
}


def run_flood(name: str, told: Told, until_s: float, result: Any) -> None:
    result.value = FLOODS[name](told, until_s)


async def beside(server: Server, until_s: float) -> list[float]:
    """A player who looks around; returns how long each look took."""
    flags = server.flags
    context = None
    if flags:
        import ssl  # noqa: PLC0415 - for one of the floods

        context = ssl.create_default_context(cafile=flags[1])
    ada = await server.player("ada", tls=context)
    waited: list[float] = []
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        await ada.act("look")
        waited.append(time.monotonic() - began_s)
        await asyncio.sleep(0.05)
    server.drop_clients()
    await asyncio.sleep(0)
    return waited


def measure(name: str, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        flags = make(Path(scratch) / "tls").flags if name == "half_open_tls" else ()
        server = Server(Path(scratch) / "data", *flags, STORE__URL="memory://", KEEPER__STRICT="false").start()
        try:
            until_s = time.monotonic() + seconds + 1.0
            result = multiprocessing.Value("q", 0)
            flood = multiprocessing.Process(target=run_flood, args=(name, server.told, until_s, result))
            flood.start()
            waited = sorted(asyncio.run(beside(server, until_s)))
            flood.join(30)
            if flood.is_alive():
                flood.kill()
        finally:
            code = server.stop()
        told = next(json.loads(line) for line in server.log.splitlines() if '"tick_late_ms_p99"' in line)
        return {
            "tick_late_ms_p99": told["tick_late_ms_p99"],
            "sent": result.value,
            "look_ms_p50": round(1000 * waited[len(waited) // 2], 2),
            "look_ms_p99": round(1000 * waited[int(0.99 * (len(waited) - 1))], 2),
            "exit_code": code,
        }


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    baselines = ["idle", "busy"]
    names = [*baselines, *(name for name in sys.argv[2:] or FLOODS if name not in baselines)]
    report: dict[str, dict[str, Any]] = {}
    for name in names:
        report[name] = measure(name, seconds)
        for baseline in baselines[: len(report)]:
            late_ms = max(0.1, report[baseline]["tick_late_ms_p99"])
            report[name][f"times_{baseline}"] = round(report[name]["tick_late_ms_p99"] / late_ms, 1)
        sys.stderr.write(f"{name}: {report[name]}\n")
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
