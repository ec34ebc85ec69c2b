import logging

import pytest

from realmkeep.accounts.sparing_log import LINES_BURST, LINES_PER_S, SparingLog
from realmkeep.testing.clock import FakeClock


async def test_a_flood_of_refusals_does_not_fill_a_disk_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock, minutes = FakeClock(), 5
    sparing = SparingLog(logging.getLogger("realmkeep.accounts"), clock)
    with caplog.at_level(logging.INFO, "realmkeep.accounts"):
        for _ in range(minutes * 60):
            await clock.advance(1)
            for number in range(1_000):
                sparing.info("ticket from %r refused: %s", "192.0.2.1", number)
    refusals = [record for record in caplog.records if record.levelno == logging.INFO]
    assert len(refusals) == LINES_BURST + minutes * 60 * LINES_PER_S - LINES_PER_S
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    untold = minutes * 60 * 1_000 - len(refusals) - sum(int(line.split()[0]) for line in told)
    assert 0 <= untold <= 1_000, "all that were left out are counted, but those since the last line"


async def test_the_usual_typing_errors_are_all_told(caplog: pytest.LogCaptureFixture) -> None:
    sparing = SparingLog(logging.getLogger("realmkeep.accounts"), FakeClock())
    with caplog.at_level(logging.INFO, "realmkeep.accounts"):
        for number in range(int(LINES_BURST)):
            sparing.info("login from %r refused: %s", "192.0.2.1", number)
    assert [record.args for record in caplog.records] == [("192.0.2.1", number) for number in range(int(LINES_BURST))]
