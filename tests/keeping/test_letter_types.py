"""Types of letters: declared, versioned, migrated; of one that cannot be opened today nothing is lost."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from keeping.game import Player, enter, enter_and_read, hooks_of, kept
from realmkeep.errors import DefinitionError, Misuse, RecordError
from realmkeep.keeping import Hooks, Keeper, Letter, Returned, Session
from realmkeep.keeping.letters.kept_letters import list_kept_letters
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.letter_types import check_letter_types, open_letter
from realmkeep.keeping.live.sealing import seal
from realmkeep.records import Part, durable
from realmkeep.storage import Append, Transaction
from realmkeep.testing.lab import Lab

GOLDEN = Path(__file__).parent.parent / "golden" / "letters"


SENT_US = 8_999_999_940_000_000  # its letter expires a minute later, in the year 2255


class Ribbon(Part):
    colour: str
    loops: int = 1


class Gift(Letter, kind="rover-gift", version=2):
    gold: int
    wish: str = ""
    ribbons: tuple[Ribbon, ...] = ()


@Gift.migration(1)
def _(gift: dict[str, Any]) -> dict[str, Any]:
    gift["gold"] = gift.pop("amount")
    return gift


class Bill(Letter, kind="bill"):
    gold: int


DEFINE: Any = type(Letter)  # as a class statement does


def takes_one(letter: dict[str, Any]) -> dict[str, Any]:
    return letter


def takes_two(_a: object, _b: object) -> None:
    """A hook that could be called."""


def takes_three(_a: object, _b: object, _c: object) -> None:
    """Another."""


def opens_gifts(hooks: Hooks) -> None:
    @hooks.on_letter(Player, Gift)
    def _(player: Player, gift: Gift) -> None:
        player.gold += gift.gold
        player.diary += f"{gift.wish} "


def opens_all(keeper: Keeper) -> None:
    opens_gifts(hooks_of(keeper))

    @hooks_of(keeper).on_letter(Player)
    def _(player: Player, letter: dict[str, int]) -> None:
        player.gold += letter["gold"]
        player.diary += "plain "

    @hooks_of(keeper).on_letter(Player, Bill)
    def _(player: Player, bill: Bill) -> None:
        player.gold -= bill.gold


async def send(lab: Lab, *letters: object, to: int = 2) -> None:
    if lab.keeper.session(Player, to) is None:
        await (await enter(lab.keeper, to)).logout()
    ada = lab.keeper.session(Player, 1) or await enter(lab.keeper, 1)
    await lab.keeper.commit(lambda _: [lab.keeper.tx.deliver(Player, to, letter) for letter in letters], ada)


async def test_each_type_goes_to_its_own_hook_in_the_order_of_sending(lab: Lab) -> None:
    opens_all(lab.keeper)
    heard: list[object] = []

    @hooks_of(lab.keeper).on_letter_settled(Player, Gift)
    def _(_: Session[Player], gift: Gift, result: Any) -> None:
        heard.append((gift.gold, result))

    ribbons = (Ribbon(colour="red"), Ribbon(colour="blue", loops=3))
    await send(lab, Gift(gold=5, wish="luck", ribbons=ribbons), {"gold": 7}, Bill(gold=2), Gift(gold=1, wish="health"))
    bob = await enter_and_read(lab.keeper, 2)
    assert (bob.record.gold, bob.record.diary) == (111, "luck plain health ")
    assert kept(lab, 2).gold == 111
    assert heard == [(5, None), (1, None)]


def test_an_envelope_says_who_sent_what_when_and_until_when() -> None:
    sealed = seal(Gift(gold=5), sender="rover:1", now_us=1_000_000, expires_s=2.5)
    letter = open_envelope(sealed)
    assert (letter.kind, letter.version, letter.sender, letter.sent_us, letter.expires_us) == (
        "rover-gift",
        2,
        "rover:1",
        1_000_000,
        3_500_000,
    )
    assert letter.content == {"gold": 5, "wish": "", "ribbons": []}
    assert open_letter(letter, Gift) == Gift(gold=5)


@pytest.mark.parametrize("name", ["plain_0.json", "plain.json", "gift_1.json", "gift_2.json", "returned_1.json"])
async def test_letters_as_every_release_stored_them_still_open(lab: Lab, name: str) -> None:
    """`plain_0.json` is what a letter was before there were types."""
    stored = (GOLDEN / name).read_bytes().strip()
    await (await enter(lab.keeper, 2)).logout()
    opens_all(lab.keeper)

    @hooks_of(lab.keeper).on_letter(Player, Returned)
    def _(player: Player, back: Returned) -> None:
        player.gold += back.open(Gift).gold
        player.diary += back.reason

    await lab.line().write([Transaction([], [Append("rover:2:inbox", stored)])])
    bob = await enter_and_read(lab.keeper, 2)
    assert bob.record.gold == 105
    assert lab.store.entries("rover:2:inbox") == lab.store.entries("rover:2:kept") == []
    if name == "gift_2.json":
        now = msgspec.json.decode(seal(Gift(gold=5, wish="luck"), sender="rover:1", now_us=SENT_US, expires_s=60))
        assert now[1:] == msgspec.json.decode(stored)[1:], "today's bytes are as they were"


@pytest.mark.parametrize(
    "stored",
    [
        b'["a1",{"gold":5},"unheard-of",1,"rover:1",1,0]',
        b'["a2",{"gold":5,"wish":""},"rover-gift",3,"rover:1",1,0]',
        b'["a3",{"gold":"much"},"rover-gift",2,"rover:1",1,0]',
        b'["a4",{"amount":5,"taste":1},"rover-gift",1,"rover:1",1,0]',
        b'["a5",[1],"rover-gift",2,"rover:1",1,0]',
        b'["a6",{"gold":5},"rover-gift",0,"rover:1",1,0]',
        b'["a7",{"gold":5},"bill",1,"rover:1",1,0]',
        b'["a8",{"gold":5}]',
    ],
    ids=[
        "unknown kind",
        "newer",
        "wrong field",
        "unknown field",
        "no fields",
        "version 0",
        "no hook",
        "plain, no hook",
    ],
)
async def test_one_that_cannot_be_opened_is_kept_named_and_holds_up_no_other(lab: Lab, stored: bytes) -> None:
    opens_gifts(hooks_of(lab.keeper))
    await (await enter(lab.keeper, 2)).logout()
    await lab.line().write([Transaction([], [Append("rover:2:inbox", stored)])])
    await send(lab, Gift(gold=1, wish="luck"))
    bob = await enter_and_read(lab.keeper, 2)
    assert bob.record.diary == "luck "
    assert lab.store.entries("rover:2:kept") == [stored]
    assert "1 letters cannot be applied and are kept, first to rover:2" in lab.keeper.degraded[0]
    (letter,) = await list_kept_letters(lab.line())
    assert (letter.why, letter.id) == ("kept", open_envelope(stored).id)


async def test_a_later_release_opens_what_the_earlier_one_kept(lab: Lab) -> None:
    opens_gifts(hooks_of(lab.keeper))
    await send(lab, Bill(gold=3), Gift(gold=1, wish="luck"))
    await (await enter_and_read(lab.keeper, 2)).logout()
    assert len(lab.store.entries("rover:2:kept")) == 1
    await lab.crash()
    keeper = await lab.restart()
    opens_all(keeper)
    bob = await enter_and_read(keeper, 2)
    assert (bob.record.gold, lab.store.entries("rover:2:kept"), keeper.degraded) == (98, [], ())


@pytest.mark.parametrize(
    "letter",
    [Gift(gold="much"), Gift(gold=2**63), Gift(gold=1, ribbons=("red",)), object(), {"a": float("nan") + 1j}],  # pyright: ignore[reportArgumentType]
)
async def test_a_letter_that_could_not_be_read_back_is_refused_where_it_is_sent(lab: Lab, letter: object) -> None:
    with pytest.raises(Misuse, match="a letter cannot be stored"):
        await send(lab, letter)
    assert lab.store.entries("rover:2:inbox") == []


def test_one_hook_for_a_class_and_a_type() -> None:
    hooks = Hooks()
    for letter in (None, Gift, Bill):
        for event, hook in (("letter", takes_two), ("letter_settled", takes_three)):
            hooks.add_hook(event, Player, hook, letter)
            with pytest.raises(Misuse, match="would take its letters"):
                hooks.add_hook(event, Player, hook, letter)


async def test_only_a_return_is_a_returned_letter(lab: Lab) -> None:
    with pytest.raises(Misuse, match="a Returned was to be delivered"):
        await send(lab, Returned(reason="", receiver="", envelope="[]"))
    assert lab.store.entries("rover:2:inbox") == []


def test_a_type_of_letters_is_for_the_hooks_of_letters_alone() -> None:
    with pytest.raises(Misuse, match="on_evict got"):
        Hooks().add_hook("evict", Player, print, Gift)


@pytest.mark.parametrize("wrong", [Letter, Player, int, Gift(gold=1), "rover-gift"])
def test_what_is_no_type_of_letters_is_refused_at_registration(wrong: Any) -> None:
    with pytest.raises(Misuse, match="on_letter got"):
        Hooks().on_letter(Player, wrong)(takes_two)


def test_what_cannot_work_is_refused_when_the_type_is_defined() -> None:
    for field, of, default, said in (
        ("lot", list[int], None, "mutable"),
        ("any", Any, None, "cannot be stored"),
        ("version", int, None, "reserved"),
        ("gold", int, durable(ge=0), "has bounds"),
        ("gold", int, durable(default="x"), "default"),
    ):
        body: dict[str, Any] = {"__annotations__": {field: of}, "__qualname__": "f.<locals>.Bad"}
        if default is not None:
            body[field] = default
        with pytest.raises(DefinitionError, match=said):
            DEFINE("Bad", (Letter,), body, kind="bad")
    for arguments, said in (
        ({"kind": "Bad"}, "Bad"),
        ({"kind": "bad", "version": 0}, "version"),
        ({"kind": "returned"}, "keeping's own"),
        ({}, "no kind"),
    ):
        with pytest.raises(DefinitionError, match=said):
            DEFINE("Bad", (Letter,), {"__qualname__": "f.<locals>.Bad"}, **arguments)
    with pytest.raises(DefinitionError, match="derives from the letter Gift"):
        DEFINE("Bad", (Gift,), {}, kind="bad")


def test_two_types_of_one_kind_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"test_letter_types\.Gift has the kind 'rover-gift'"):
        DEFINE("Other", (Letter,), {"__qualname__": "Other", "__module__": __name__}, kind="rover-gift")


def test_migrations_are_plain_append_only_and_without_a_gap() -> None:
    class Parcel(Letter, kind="parcel", version=4):
        what: str

    @Parcel.migration(1)
    def _(parcel: dict[str, Any]) -> dict[str, Any]:
        return parcel

    with pytest.raises(DefinitionError, match="two migrations from version 1"):
        Parcel.migration(1)(takes_one)
    with pytest.raises(DefinitionError, match="beyond the current version"):
        Parcel.migration(4)

    async def waits(parcel: dict[str, Any]) -> dict[str, Any]:
        return parcel

    with pytest.raises(DefinitionError, match="coroutine"):
        Parcel.migration(2)(waits)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefinitionError, match="no migration from version 2 to 3"):
        Hooks().on_letter(Player, Parcel)(takes_two)
    check_letter_types()


def test_a_letter_of_another_version_is_brought_to_the_current_one_or_says_why() -> None:
    old = open_envelope(b'["a",{"amount":5},"rover-gift",1,"rover:1",1,0]')
    assert open_letter(old, Gift) == Gift(gold=5)
    assert old.content == {"amount": 5}, "what is stored is not touched"
    with pytest.raises(RecordError, match="stored at version 3, but this code knows versions up to 2"):
        open_letter(open_envelope(b'["a",{"gold":5},"rover-gift",3,"",0,0]'), Gift)
