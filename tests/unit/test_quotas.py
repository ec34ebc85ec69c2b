"""Places and rates by network: each host within its own, each network within its own, this machine apart."""

import pytest

from realmkeep import quotas
from realmkeep.quotas import Limit, PlaceQuota, RateQuota, networks


@pytest.mark.parametrize(
    ("host", "counts_for"),
    [
        ("192.0.2.77", ("192.0.2.77/32", "192.0.2.0/24")),
        ("::ffff:192.0.2.77", ("192.0.2.77/32", "192.0.2.0/24")),
        ("2001:db8:1:2:3:4:5:6", ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        ("fe80::1%eth0", ("fe80::/64", "fe80::/48")),
        ("127.0.0.9", ()),
        ("::1", ()),
        ("::ffff:127.0.0.1", ()),
        ("", ()),
        ("a-socket", ()),
    ],
)
def test_a_host_counts_for_itself_and_for_the_network_around_it(host: str, counts_for: tuple[str, ...]) -> None:
    assert networks(host) == counts_for


def test_this_machine_counts_where_that_is_asked_for() -> None:
    assert networks("127.0.0.9", loopback=True) == ("127.0.0.9/32", "127.0.0.0/24")
    assert PlaceQuota(Limit(0, 0)).full("127.0.0.1") is None
    assert PlaceQuota(Limit(0, 0), loopback=True).full("127.0.0.1") == "127.0.0.1/32"


def test_a_host_has_its_places_and_a_network_has_its_own() -> None:
    shares = PlaceQuota(Limit(2, 3))
    holds = [shares.hold("192.0.2.1"), shares.hold("192.0.2.1")]
    assert shares.full("192.0.2.1") == "192.0.2.1/32"
    assert shares.full("192.0.2.2") is None
    holds.append(shares.hold("192.0.2.2"))
    assert shares.full("192.0.2.3") == "192.0.2.0/24"
    assert shares.full("198.51.100.1") is None
    for _ in range(3):  # once, however often
        holds[0].release()
    assert shares.full("192.0.2.1") is None
    assert shares.full("192.0.2.2") is None
    for hold in holds:
        hold.release()
    assert not shares._held, "nothing is kept of networks that hold nothing"


def test_a_rate_lets_so_many_at_once_and_so_many_again_in_its_period() -> None:
    rates = RateQuota(Limit(3, 5), period_s=60.0)
    assert [rates.take("192.0.2.1", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 20.0]
    assert [rates.take("192.0.2.2", 0.0) for _ in range(3)] == [0.0, 0.0, 12.0]
    assert rates.take("198.51.100.1", 0.0) == 0.0
    assert rates.take("192.0.2.1", 20.0) == 0.0
    assert rates.take("192.0.2.1", 20.0) == pytest.approx(20.0)
    assert sum(rates.take("192.0.2.9", 3_600.0) == 0.0 for _ in range(10)) == 3


def test_what_was_refused_is_not_counted_and_what_did_not_happen_can_be_given_back() -> None:
    rates = RateQuota(Limit(1, 10), period_s=60.0)
    assert rates.take("192.0.2.1", 0.0) == 0.0
    for _ in range(100):
        assert rates.take("192.0.2.1", 0.0) == 60.0
    rates.give_back("192.0.2.1", 0.0)
    assert rates.take("192.0.2.1", 0.0) == 0.0


def test_the_memory_of_rates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "NETWORKS_MAX", 10)
    rates = RateQuota(Limit(1, 10_000), period_s=60.0)
    for number in range(100):
        rates.take(f"10.0.{number}.1", 0.0)
    assert len(rates._used) <= 10


def test_a_place_that_is_given_back_twice_is_one_place() -> None:
    shares = PlaceQuota(Limit(2, 3))
    first = shares.hold("192.0.2.1")
    shares.hold("192.0.2.1")
    first.release()
    first.release()
    shares.hold("192.0.2.1")
    assert shares.full("192.0.2.1") == "192.0.2.1/32"
