"""The journal: one entry a commit, in the commit's own transaction; snapshots; gaps."""

from typing import Any

import msgspec
import pytest

from keeping.game import Item, NotEnough, Player, pay
from realmkeep.config import JournalConfig, KeeperConfig
from realmkeep.errors import Corrupt, Misuse, NoSuchReceiver
from realmkeep.keeping import Hooks, Keeper, Op, Session
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing.journal_entries import (
    CommitEntry,
    GapEntry,
    JournalEntry,
    SnapshotEntry,
    applied,
    decode_entry,
    difference,
)
from realmkeep.keys import server_journal
from realmkeep.records import IMMEDIATE, Record, durable
from realmkeep.testing.lab import Lab

JOURNAL = JournalConfig()


class Weather(Record, kind="weather", version=1, journal=False):
    rain: int = durable(default=0, tier=IMMEDIATE)


async def make(lab: Lab, number: int, gold: int) -> Session[Player]:
    return await lab.keeper.login(Player, number, create=lambda: Player(gold=gold))


def entries(lab: Lab, server: str = "lab-1") -> list[JournalEntry]:
    return [decode_entry(each) for each in lab.store.entries(server_journal(server))]


def commits(lab: Lab) -> list[CommitEntry]:
    return [each for each in entries(lab) if isinstance(each, CommitEntry)]


def snapshots(lab: Lab) -> list[SnapshotEntry]:
    return [each for each in entries(lab) if isinstance(each, SnapshotEntry)]


async def test_a_commit_has_one_entry() -> None:
    async with Lab(journal=JOURNAL) as lab:
        ada, bob = await make(lab, 1, 50), await make(lab, 2, 0)
        await lab.keeper.commit(pay, ada, bob, ops=(Op(7), None))
        (entry,) = commits(lab)
        assert entry.fn == "pay"
        assert [each.key for each in entry.records] == ["rover:1", "rover:2"]
        assert [each.fields for each in entry.records] == [{"gold": [50, 40]}, {"gold": [0, 10]}]
        assert [each.op for each in entry.records] == [7, 0]
        assert [each.rev for each in entry.records] == [ada.revision, bob.revision]
        repeated = await lab.keeper.commit(pay, ada, bob, ops=(Op(7), None))
        assert repeated.repeated
        assert len(commits(lab)) == 1


async def test_without_a_journal_nothing_is_written() -> None:
    async with Lab() as lab:
        ada, bob = await make(lab, 1, 50), await make(lab, 2, 0)
        await lab.keeper.commit(pay, ada, bob)
        await ada.logout()
        assert lab.store.entries(server_journal("lab-1")) == []


async def test_a_commit_that_does_not_happen_has_no_entry() -> None:
    async with Lab(journal=JOURNAL) as lab:
        ada, bob = await make(lab, 1, 5), await make(lab, 2, 0)
        with pytest.raises(NotEnough):
            await lab.keeper.commit(pay, ada, bob)
        with pytest.raises(NoSuchReceiver):
            await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 9, {}), ada)
        assert commits(lab) == []


@pytest.mark.parametrize("lost", ["request", "reply"])
async def test_a_commit_whose_answer_is_lost_has_one_entry(lost: str) -> None:
    async with Lab(journal=JOURNAL) as lab:
        ada, bob = await make(lab, 1, 50), await make(lab, 2, 0)
        lab.lose_next_request() if lost == "request" else lab.lose_next_reply()
        await lab.finish(lab.keeper.commit(pay, ada, bob))
        assert [each.seq for each in commits(lab)] == [3]  # after the snapshots of two new records


async def test_a_class_may_opt_out() -> None:
    def storm(player: Player, weather: Weather) -> None:
        player.gold -= 1
        weather.rain += 1

    async with Lab(journal=JOURNAL) as lab:
        ada = await make(lab, 1, 5)
        sky = await lab.keeper.hold(Weather, 1, create=Weather)
        await lab.keeper.commit(storm, ada, sky)
        await lab.keeper.commit(lambda weather: setattr(weather, "rain", 9), sky)
        await sky.release()
        (entry,) = commits(lab)
        assert [each.key for each in entry.records] == ["rover:1"]
        assert [each.key for each in snapshots(lab)] == ["rover:1"]


async def test_containers_have_their_difference() -> None:
    def shop(player: Player) -> None:
        player.bank = [player.bank[0], Item("bow"), *player.bank[2:]]
        player.inventory.append(Item("apple", 3))
        player.touch("inventory")
        player.diary = "shopped"

    async with Lab(journal=JOURNAL) as lab:
        made = Player(bank=[Item("axe"), Item("pan"), Item("cup")])
        ada = await lab.keeper.login(Player, 1, create=lambda: made)
        await lab.keeper.commit(shop, ada)
        assert commits(lab)[0].records[0].fields == {
            "bank": {"at": 1, "removed": [{"item": "pan", "count": 1}], "added": [{"item": "bow", "count": 1}]},
            "inventory": {"at": 0, "removed": [], "added": [{"item": "apple", "count": 3}]},
            "diary": ["", "shopped"],
        }


async def test_letters_creations_deletions_and_the_reason_are_in_the_entry() -> None:
    hooks = Hooks()

    @hooks.on_letter(Player)
    def _(player: Player, letter: dict[str, int]) -> None:
        player.gold += letter["gold"]

    async with Lab(journal=JOURNAL, hooks=hooks) as lab:
        keeper = lab.keeper
        ada, bob = await make(lab, 1, 50), await make(lab, 2, 0)

        def give(player: Player) -> None:
            player.gold -= 10
            keeper.tx.explain("a wager")
            keeper.tx.deliver(Player, 2, {"gold": 10})
            keeper.tx.create(Player, 3, Player(name="New"))
            keeper.tx.delete(Player, 4)

        await keeper.commit(give, ada)
        await bob.open_letters()
        given, opened = commits(lab)
        assert given.reason == "a wager"
        ((receiver, letter),) = given.letters
        assert (receiver, letter[1]) == ("rover:2", {"gold": 10})
        ((key, made),) = given.created
        assert (key, made["name"]) == ("rover:3", "New")
        assert given.deleted == ("rover:4",)
        assert opened.opened == (letter[0],)
        assert opened.records[0].fields == {"gold": [0, 10]}


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 401, None])
async def test_a_reason_is_one_line(reason: Any) -> None:
    async with Lab(journal=JOURNAL) as lab:
        ada = await make(lab, 1, 50)
        with pytest.raises(Misuse, match="reason"):
            await lab.keeper.commit(lambda _: lab.keeper.tx.explain(reason), ada)


async def test_snapshots_at_creation_at_each_interval_and_at_the_release() -> None:
    async with Lab(journal=JournalConfig(snapshot_interval_s=600)) as lab:
        ada = await make(lab, 1, 50)
        for _ in range(40):
            ada.record.xp += 1
            await lab.advance(30)
        await ada.logout()
        found = snapshots(lab)
        assert [each.why for each in found] == ["created", *["interval"] * (len(found) - 2), "release"]
        assert 3 <= len(found) <= 6
        assert found[-1].stored["xp"] == 40
        assert found[-1].rev == ada.durable_revision
        assert [each.seq for each in found] == list(range(1, len(found) + 1))


async def test_runs_rise_and_their_entries_stay() -> None:
    async with Lab(journal=JOURNAL) as lab:
        await make(lab, 1, 50)
        await lab.restart()
        await make(lab, 2, 50)
        first, second = entries(lab)
        assert second.run > first.run
        assert engine_of(lab.keeper).journal.backlog_bytes == sum(map(len, lab.store.entries(server_journal("lab-1"))))


def fill(player: Player) -> None:
    player.diary = ("a" if player.diary.startswith("b") else "b") * 20_000


async def grow(keeper: Keeper, session: Any, times: int) -> None:
    for _ in range(times):
        await keeper.commit(fill, session)


async def test_too_long_a_backlog_makes_a_gap_and_play_goes_on() -> None:
    config = KeeperConfig(tier1_rate_per_s=10_000)
    async with Lab(journal=JournalConfig(backlog_bytes_max=128 * 1024), config=config) as lab:
        keeper, journal = lab.keeper, engine_of(lab.keeper).journal
        ada = await make(lab, 1, 50)
        await grow(keeper, ada, 10)
        await lab.advance(2)
        written = commits(lab)
        assert len(written) == 3
        assert any("journal has a gap" in reason for reason in keeper.degraded)
        assert keeper.status().journal_missed == 7
        assert lab.stored(Player, 1) == ada.record
        (opened,) = [each for each in entries(lab) if isinstance(each, GapEntry)]
        assert opened.missed == 0
        journal.archived(100 * 1024)
        await grow(keeper, ada, 1)
        await lab.advance(2)
        assert keeper.degraded == ()
        closed = [each for each in entries(lab) if isinstance(each, GapEntry)][-1]
        assert (closed.missed, closed.since) == (7, opened.since)
        assert len(commits(lab)) == 4


async def test_a_huge_entry_is_cut() -> None:
    def many(players: list[Player]) -> None:
        for player in players:
            player.diary = "x" * 30_000

    async with Lab(journal=JOURNAL) as lab:
        crowd = [await make(lab, number, 1) for number in range(1, 7)]
        await lab.keeper.commit_all(many, crowd)
        (entry,) = commits(lab)
        assert entry.cut
        assert [each.fields for each in entry.records] == [{"diary": None}] * 6


async def test_a_loss_of_the_store_restores_the_entries() -> None:
    async with Lab(journal=JOURNAL, loss_window_s=1.0) as lab:
        ada, bob = await make(lab, 1, 50), await make(lab, 2, 0)
        await lab.advance(20)
        before = lab.store.snapshot()
        await lab.keeper.commit(pay, ada, bob)
        await lab.keeper.commit(fill, ada)
        assert [each.fn for each in commits(lab)] == ["pay", "fill"]
        lab.store.restore(before)
        await lab.finish(lab.keeper.commit(pay, ada, bob))
        await lab.advance(20)
        assert sorted(each.fn for each in commits(lab)) == ["fill", "pay", "pay"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, 2),
        ("a", None),
        ([1, 2, 3], [1, 9, 3]),
        ([1, 2, 3], [1, 2, 3, 4]),
        ([1, 1, 1], [1, 1]),
        ([], [1]),
        ([1, 2], []),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}),
        ({1, 2}, {2, 3}),
        ((1, 2), (1, 3)),
    ],
)
def test_a_difference_leads_from_one_value_to_the_other(before: Any, after: Any) -> None:
    change = msgspec.json.decode(msgspec.json.encode(difference(before, after)))
    was, now = (msgspec.json.decode(msgspec.json.encode(each)) for each in (before, after))
    assert applied(was, change) == now


def test_a_change_of_another_value_is_refused() -> None:
    for change in ([1, 2], {"at": 0, "removed": [1], "added": []}, {"removed": {"a": 1}, "added": {}}):
        for value in (3, [2], {"a": 2}):
            with pytest.raises(Corrupt, match="does not fit"):
                applied(value, change)


def test_another_entry_is_corrupt() -> None:
    for stored in (b"", b"{}", b'{"type":"commit"}', b"\xff"):
        with pytest.raises(Corrupt):
            decode_entry(stored)
