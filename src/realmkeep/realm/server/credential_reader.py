"""The credentials of a request, plain or sealed."""

from dataclasses import dataclass, field

from realmkeep.accounts import OpenedPayload
from realmkeep.errors import AuthFailed
from realmkeep.realm.server.game import Game
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.peer import Peer
from realmkeep.realm.wire.requests import ChangePasswordRequest, CredentialsRequest, LoginRequest


@dataclass(frozen=True)
class ReceivedCredentials:
    """The credentials of a request; a field that the request lacks is empty.

    Attributes:
        sealed: The opened payload, which seals the ticket of the answer; None if the credentials came plain.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    new_password: str = field(default="", repr=False)
    ticket: str = field(default="", repr=False)
    sealed: OpenedPayload | None = None

    def ticket_fields(self, ticket: str) -> dict[str, str]:
        """The field of an answer that carries a ticket, sealed if the request was."""
        return {"ticket": ticket} if self.sealed is None else {"sealed_ticket": self.sealed.seal_ticket(ticket)}


class CredentialReader:
    """Reads the credentials of requests.

    Args:
        game: The realm; its accounts have the sealing key.
        challenges: The challenges that sealed credentials may carry.
        require_encryption: Refuse plain passwords and tickets.
    """

    def __init__(self, game: Game, challenges: Challenges, *, require_encryption: bool) -> None:
        self._game = game
        self._challenges = challenges
        self._require_encryption = require_encryption

    async def read_credentials(
        self, peer: Peer, request: CredentialsRequest | ChangePasswordRequest
    ) -> ReceivedCredentials:
        """Read the credentials of a request; a sealed payload is accepted once.

        Raises:
            AuthFailed: `encryption_required`, `replayed` or `unavailable`.
            SealBroken: The payload cannot be opened, or holds no credentials.
        """
        if request.encrypted_payload is not None:
            shown, opened = await self._game.accounts.open_sealed(
                request.encrypted_payload,
                challenge_holds=lambda challenge: self._challenges.holds(challenge, peer.address),
            )
            return ReceivedCredentials(shown.username, shown.password, shown.new_password, shown.ticket, opened)
        if self._require_encryption:
            raise AuthFailed("credentials have to be sealed", reason="encryption_required")
        if isinstance(request, ChangePasswordRequest):
            return ReceivedCredentials(password=request.password or "", new_password=request.new_password or "")
        renewed = (request.new_password or "") if isinstance(request, LoginRequest) else ""
        return ReceivedCredentials(request.username or "", request.password or "", renewed, request.ticket or "")
