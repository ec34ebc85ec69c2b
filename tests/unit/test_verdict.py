"""One table: owner and revision as the store holds them, a write, and its fate."""

import pytest

from realmkeep.keeping.recovery.verdict import Verdict, Wrote, verdict

CLAIM = b"town/aaaaaaaa/500"
EARLIER = b"north/bbbbbbbb/400"
LATER = b"north/bbbbbbbb/600"
OF_ANOTHER_WORLD = b"north/bbbbbbbb/500"  # made from an older state of the store
WROTE = Wrote(CLAIM, 550)
RELEASED = Wrote(CLAIM, 570, 570)
RELEASED_AFTERWARDS = Wrote(CLAIM, 550, 570)


@pytest.mark.parametrize(
    ("owner", "revision", "write", "fate"),
    [
        (CLAIM, 550, WROTE, Verdict.KEPT),
        (CLAIM, 560, WROTE, Verdict.KEPT),
        (CLAIM, 549, WROTE, Verdict.MISSING),
        (CLAIM, 0, WROTE, Verdict.MISSING),
        (CLAIM, 569, RELEASED, Verdict.MISSING),
        (None, 570, RELEASED, Verdict.KEPT),
        (None, 570, RELEASED_AFTERWARDS, Verdict.KEPT),
        (None, 571, RELEASED, Verdict.TAKEN),
        (None, 569, RELEASED, Verdict.TAKEN),
        (None, 570, WROTE, Verdict.TAKEN),
        (None, 550, WROTE, Verdict.TAKEN),
        (None, 501, WROTE, Verdict.TAKEN),
        (None, 500, WROTE, Verdict.TAKEN),  # by our own release, of which this question does not know
        (None, 500, Wrote(CLAIM, 500, 500), Verdict.KEPT),
        (None, 499, WROTE, Verdict.CLAIM_LOST),
        (None, 0, RELEASED, Verdict.CLAIM_LOST),
        (EARLIER, 450, WROTE, Verdict.CLAIM_LOST),
        (EARLIER, 501, WROTE, Verdict.TAKEN),
        (LATER, 450, WROTE, Verdict.TAKEN),
        (LATER, 550, WROTE, Verdict.TAKEN),
        (OF_ANOTHER_WORLD, 450, WROTE, Verdict.TAKEN),
        (CLAIM, None, WROTE, Verdict.FOREIGN),
        (None, None, WROTE, Verdict.FOREIGN),
        (b"a note", 550, WROTE, Verdict.FOREIGN),
        (b"", 450, WROTE, Verdict.FOREIGN),
    ],
)
def test_owner_and_revision_decide_a_write(
    owner: bytes | None, revision: int | None, write: Wrote, fate: Verdict
) -> None:
    assert verdict(owner, revision, write) is fate


def test_a_fate_allows_writing_again_or_forbids_it_or_needs_neither() -> None:
    assert {fate for fate in Verdict if fate.is_behind} == {Verdict.MISSING, Verdict.CLAIM_LOST}
    assert {fate for fate in Verdict if fate.is_gone} == {Verdict.TAKEN, Verdict.FOREIGN}
