"""Where the proxy of the drill stands before a store at a URL, and the URL that leads through it."""

from pathlib import Path

import pytest

from realmkeep.drill.link import Endpoint, HostPort
from realmkeep.drill.stores.reach import reach_of

PROXY = HostPort("127.0.0.1", 999)


@pytest.mark.parametrize(
    ("url", "endpoint", "listen", "behind"),
    [
        ("redis://db/3", HostPort("db", 6379), PROXY, "redis://127.0.0.1:999/3"),
        (
            "redis://me:a%40b@[::1]:7/0?prefix=x", HostPort("::1", 7), PROXY,
            "redis://me:a%40b@127.0.0.1:999/0?prefix=x",
        ),
        ("redis+unix:///run/a%20b/s?db=2", Path("/run/a b/s"), Path("/p q/s"), "redis+unix:///p%20q/s?db=2"),
        (
            "postgresql://me:w@db/x?sslmode=verify-full", HostPort("db", 5432), PROXY,
            "postgresql://me:w@db/x?sslmode=verify-full&hostaddr=127.0.0.1&port=999",
        ),
        (
            "postgresql://db:6/x?hostaddr=10.0.0.1", HostPort("10.0.0.1", 6), PROXY,
            "postgresql://db:6/x?hostaddr=127.0.0.1&port=999",
        ),
        (
            "postgresql://:6/x?host=%2Frun&timeout_s=1", Path("/run/.s.PGSQL.6"), Path("/p/.s.PGSQL.6"),
            "postgresql://:6/x?timeout_s=1&host=%2Fp",
        ),
    ],
)  # fmt: skip
def test_a_url_leads_through_the_proxy_and_keeps_the_rest(
    url: str, endpoint: Endpoint, listen: Endpoint, behind: str
) -> None:
    reach = reach_of(url)
    assert reach is not None
    assert reach.endpoint == endpoint
    assert reach.url_behind(listen) == behind
    again = reach_of(behind)
    assert again is not None
    assert again.endpoint == listen


@pytest.mark.parametrize(
    "url",
    [
        "rediss://db/0",
        "redis-cluster://a:1,b:2/realm",
        "redis-sentinel://a:1,b:2/primary/0",
        "postgresql://a,b/x",
        "postgresql:///x?service=game",
        "postgresql:///x",
        "postgresql://%40abstract/x",
    ],
)
def test_a_store_that_no_proxy_can_stand_before_is_reached_as_it_is(url: str) -> None:
    assert reach_of(url) is None
