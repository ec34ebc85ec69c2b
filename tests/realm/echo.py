"""A game in which everybody may come in and time is all there is, for tests of the transports."""

import asyncio
from collections.abc import Mapping
from typing import Any

from realmkeep.clock import Clock
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.limits import TokenBucket
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import LoginRequest, LogoutRequest, PingRequest, Request

Message = dict[str, Any]
ADA = ("192.0.2.1", 4000)


class Echo:
    """What the transports deliver to."""

    def __init__(self, challenges: Challenges, clock: Clock) -> None:
        self.challenges = challenges
        self.clock = clock
        self.handled: list[Request] = []
        self.gone: list[Peer] = []
        self.waiting: list[Answer] = []
        self.somebody_went = asyncio.Event()

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        return {
            "type": "welcome",
            "protocol": 1,
            "server": "a-server-with-a-name-of-the-longest-kind-there-is-which-has-63-ch",
            "auth_public_key": "ab" * 32,
            "challenge": self.challenges.make(peer.address),
        }

    def handle_request(self, peer: Peer, request: Request, answer: Answer) -> None:
        self.handled.append(request)
        match request:
            case LoginRequest(ticket="slow"):
                self.waiting.append(answer)
            case LoginRequest():
                answer(
                    {
                        "type": "auth_ok",
                        "sid": peer.begin_session(TokenBucket(self.clock.monotonic_s())),
                        "state": {"bank": "x" * 2_000},
                    }
                )
            case LogoutRequest():
                peer.end_session()
                answer({"type": "goodbye"})
            case PingRequest(t="boom"):
                raise AssertionError
            case _:
                answer({"type": "pong", "t": getattr(request, "t", None), "tick": len(self.handled)})

    def peer_lost(self, peer: Peer) -> None:
        self.gone.append(peer)
        self.somebody_went.set()
