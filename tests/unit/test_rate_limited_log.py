"""Lines that strangers cause are bounded, and those left out are counted."""

from realmkeep.rate_limited_log import LINES_BURST, LINES_PER_S, RateLimitedLog
from realmkeep.testing.clock import FakeClock


async def test_a_flood_of_refusals_does_not_fill_a_disk_and_is_told() -> None:
    clock, minutes = FakeClock(), 5
    lines: list[tuple[str, object]] = []

    def line(text: str, *args: object, **_: object) -> None:
        lines.append((text, args))

    limited = RateLimitedLog(clock)
    for _ in range(minutes * 60):
        await clock.advance(1)
        for number in range(1_000):
            limited.say(line, "from %r: %s", "192.0.2.1", number, why="x")
    refusals = [args for _, args in lines if args]
    assert len(refusals) == LINES_BURST + minutes * 60 * LINES_PER_S - LINES_PER_S
    told = [text for text, args in lines if not args]
    untold = minutes * 60 * 1_000 - len(refusals) - sum(int(line.split()[0]) for line in told)
    assert 0 <= untold <= 1_000, "all that were left out are counted, but those since the last line"


def test_the_usual_typing_errors_are_all_told() -> None:
    lines: list[tuple[object, ...]] = []

    def line(*args: object, **facts: object) -> None:
        lines.append((*args, facts))

    limited = RateLimitedLog(FakeClock())
    for number in range(int(LINES_BURST) + 1):
        limited.say(line, "refused: %s", number, why="x")
    assert lines == [("refused: %s", number, {"why": "x"}) for number in range(int(LINES_BURST))]
