"""Friends, blocks and settings."""

from typing import Any

import msgspec

from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import AddFriend, Block, RemoveFriend, SetSetting, Unblock
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.player import BLOCKED_MAX, FRIENDS_MAX, SETTINGS_BYTES_MAX, SETTINGS_MAX, Player


def add_friend(player: Player, scene: Scene, intent: AddFriend) -> dict[str, Any]:
    """Put a player on the friends list.

    Raises:
        ActionRefused: `not_oneself`, `already_listed` or `list_full`.
    """
    player.friends = _added(player.friends, _other(player, scene), FRIENDS_MAX)
    return {}


def remove_friend(player: Player, scene: Scene, intent: RemoveFriend) -> dict[str, Any]:
    """Take a player off the friends list.

    Raises:
        ActionRefused: `not_oneself` or `not_listed`.
    """
    player.friends = _removed(player.friends, _other(player, scene))
    return {}


def block(player: Player, scene: Scene, intent: Block) -> dict[str, Any]:
    """Refuse trades and mail of a player.

    Raises:
        ActionRefused: `not_oneself`, `already_listed` or `list_full`.
    """
    player.blocked = _added(player.blocked, _other(player, scene), BLOCKED_MAX)
    return {}


def unblock(player: Player, scene: Scene, intent: Unblock) -> dict[str, Any]:
    """Accept trades and mail of a player again.

    Raises:
        ActionRefused: `not_oneself` or `not_listed`.
    """
    player.blocked = _removed(player.blocked, _other(player, scene))
    return {}


def set_setting(player: Player, scene: Scene, intent: SetSetting) -> dict[str, Any]:
    """Keep a setting of the client.

    Raises:
        ActionRefused: `settings_full`: more than 64 names, or more than 2,048 bytes in all.
    """
    settings = {**player.settings, intent.name: intent.value}
    if len(settings) > SETTINGS_MAX or len(msgspec.json.encode(settings)) > SETTINGS_BYTES_MAX:
        raise ActionRefused("settings_full", f"at most {SETTINGS_MAX} settings of {SETTINGS_BYTES_MAX} bytes together")
    player.settings = settings
    return {}


def _other(player: Player, scene: Scene) -> int:
    assert scene.other is not None  # the intent handler has looked the player up
    if scene.other.player_id == player.player_id:
        raise ActionRefused("not_oneself", "that is yourself")
    return scene.other.player_id


def _added(listed: list[int], player_id: int, most: int) -> list[int]:
    if player_id in listed:
        raise ActionRefused("already_listed", f"player {player_id} is listed already")
    if len(listed) >= most:
        raise ActionRefused("list_full", f"the list has {most} places")
    return [*listed, player_id]


def _removed(listed: list[int], player_id: int) -> list[int]:
    if player_id not in listed:
        raise ActionRefused("not_listed", f"player {player_id} is not listed")
    return [other for other in listed if other != player_id]
