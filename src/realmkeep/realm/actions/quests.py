"""Quests: accepting, making progress, finishing."""

from collections.abc import Callable
from typing import Any

from realmkeep.realm.actions.learning import gain_xp
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import AcceptQuest, AdvanceQuest
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import QuestKind, Stage
from realmkeep.realm.world.inventory import earn, give
from realmkeep.realm.world.player import Player, QuestProgress


def accept_quest(player: Player, scene: Scene, intent: AcceptQuest) -> dict[str, Any]:
    """Take a quest.

    Raises:
        ActionRefused: `no_such_quest` (no giver within reach has it) or `already_accepted`.
    """
    if intent.quest not in given_here(player, scene):
        raise ActionRefused("no_such_quest", f"no giver within reach has a quest {intent.quest!r}")
    if any(quest.quest_id == intent.quest for quest in player.quest_progress):
        raise ActionRefused("already_accepted", f"{intent.quest} was accepted before")
    player.quest_progress = [*player.quest_progress, QuestProgress(intent.quest)]
    return {}


def advance_quest(player: Player, scene: Scene, intent: AdvanceQuest) -> dict[str, Any]:
    """Finish a stage before the last.

    Raises:
        ActionRefused: `no_such_quest` or `not_finished`.
    """
    quest, _ = _finished_stage(player, scene, intent.quest)
    _replace(player, QuestProgress(quest.quest_id, quest.stage + 1))
    return {"completed": False}


def complete_quest(player: Player, scene: Scene, intent: AdvanceQuest) -> dict[str, Any]:
    """Finish the last stage and get the reward, in one commit.

    Raises:
        ActionRefused: `no_such_quest`, `not_finished`, `inventory_full`, `stack_full` or `purse_full`.
    """
    quest, kind = _finished_stage(player, scene, intent.quest)
    reward = kind.reward
    _replace(player, QuestProgress(quest.quest_id, quest.stage + 1, complete=True))
    earn(player, reward.gold)
    scene.keeper.tx.mint("gold", reward.gold, "reward of a quest")
    gain_xp(player, reward.xp)
    for item, count in reward.items.items():
        if scene.world.item(item).stackable:
            give(player, scene.world, item, count)
        else:
            for _ in range(count):
                give(player, scene.world, item, 1, scene.new_serial("reward of a quest"))
    return {"completed": True, "gold_earned": reward.gold, "xp_earned": reward.xp, "items_earned": reward.items}


def is_last_stage(player: Player, scene: Scene, quest_id: str) -> bool:
    """Whether the current stage brings the reward, so that finishing it is tier 1."""
    quest = next((quest for quest in player.quest_progress if quest.quest_id == quest_id), None)
    kind = scene.world.quests.get(quest_id)
    return quest is not None and kind is not None and quest.stage >= len(kind.stages) - 1


def killed(player: Player, scene: Scene, monster: str) -> None:
    """Count a slain monster for the quests that ask for it."""
    _progress(player, scene, lambda stage: stage.goal == "kill" and stage.target == monster)


def entered(player: Player, scene: Scene, zone: str) -> None:
    """Count a visit for the quests that ask for it."""
    _progress(player, scene, lambda stage: stage.goal == "visit" and stage.target == zone)


def given_here(player: Player, scene: Scene) -> list[str]:
    """The quests of the givers within reach."""
    givers = scene.place(player).kind.givers
    return [quest for giver in givers if scene.in_reach(player, giver.x, giver.y) for quest in giver.quests]


def _finished_stage(player: Player, scene: Scene, quest_id: str) -> tuple[QuestProgress, QuestKind]:
    kind = scene.world.quests.get(quest_id)
    quest = next((quest for quest in player.quest_progress if quest.quest_id == quest_id), None)
    if quest is None or kind is None or quest.complete:
        raise ActionRefused("no_such_quest", f"{quest_id!r} is not under way")
    stage = kind.stage(quest.stage)
    if stage.goal == "talk" and quest_id not in given_here(player, scene):
        raise ActionRefused("not_finished", "go and talk to the giver of the quest")
    if stage.goal != "talk" and quest.count < stage.count:
        raise ActionRefused("not_finished", f"{stage.goal} {stage.target}: {quest.count} of {stage.count}")
    return quest, kind


def _progress(player: Player, scene: Scene, wanted: Callable[[Stage], bool]) -> None:
    for quest in player.quest_progress:
        kind = scene.world.quests.get(quest.quest_id)
        if kind is None or quest.complete:
            continue
        stage = kind.stage(quest.stage)
        if wanted(stage) and quest.count < stage.count:
            _replace(player, QuestProgress(quest.quest_id, quest.stage, quest.count + 1))


def _replace(player: Player, changed: QuestProgress) -> None:
    player.quest_progress = [
        changed if quest.quest_id == changed.quest_id else quest for quest in player.quest_progress
    ]
