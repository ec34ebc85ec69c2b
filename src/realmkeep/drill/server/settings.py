"""What the drill gives to a server as its one argument."""

from typing import Final

import msgspec

from realmkeep.config import KeeperConfig

BREAK: Final = "REALMKEEP_DRILL_BREAK"  # names a promise that this server does not keep, for controls


class ServerSettings(msgspec.Struct):
    """The settings of a server.

    Attributes:
        store_url: The store.
        socket: The unix socket to listen on.
        rescue: The rescue file.
        keeper: The keeper's settings.
        game: `module:attribute` of a studio's game; empty for the drill's own.
        archive_url: The cold tier; empty for none.
    """

    store_url: str
    socket: str
    rescue: str
    keeper: KeeperConfig
    game: str = ""
    archive_url: str = ""
