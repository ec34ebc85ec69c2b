"""Pure functions over what clients were told and what the store holds; each violation begins with the name of its check."""

from typing import Final

CHECKS: Final = {
    "durable": "every acknowledged operation is stored",
    "invented": "nothing is stored that no client asked for, or that a client was refused",
    "atomic": "an operation on several records is on all of them or on none",
    "conserved": "gold and swords are neither lost nor doubled",
    "once": "no operation and no letter is applied twice",
    "window": "a crash takes no older change of tier 2 than its interval allows",
    "owner": "each write was made under the claim that owned the record",
    "revisions": "no record's revision goes back",
    "corruption": "every stored record can be read",
    "recovery": "the realm goes on after the fault",
    "tiers": "with a cold tier: after the end it has every record as the store has it",
}
LOST: Final = frozenset({"durable", "window", "corruption"})
DOUBLED: Final = frozenset({"invented", "atomic", "conserved", "once", "owner", "revisions"})


def check_of(violation: str) -> str:
    """Return the name of the check that found a violation."""
    return violation.partition(":")[0]


class Stuck(Exception):
    """The realm does not go on, although nothing is broken any more; a violation of `recovery`."""
