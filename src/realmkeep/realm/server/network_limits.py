"""The limits of one address and network: logins, new accounts, and players in the game."""

from typing import Final

from realmkeep.clock import Clock
from realmkeep.config import NetworkConfig
from realmkeep.errors import AuthFailed
from realmkeep.quotas import Limit, PlaceQuota, RateQuota, TakenPlace

FULL_RETRY_S: Final = 5.0  # a guess: a place becomes free when a player leaves


class NetworkLimits:
    """Counts logins, registrations and sessions by network, before the server does any work for them.

    Args:
        config: The section `network`.
        clock: Its monotonic time.
    """

    def __init__(self, config: NetworkConfig, clock: Clock) -> None:
        loopback = config.limit_loopback
        logins = Limit(config.logins_per_min_per_address, config.logins_per_min_per_network)
        accounts = Limit(config.registrations_per_hour_per_address, config.registrations_per_hour_per_network)
        sessions = Limit(config.sessions_per_address, config.sessions_per_network)
        self._clock = clock
        self._logins = RateQuota(logins, period_s=60.0, loopback=loopback)
        self._registrations = RateQuota(accounts, period_s=3600.0, loopback=loopback)
        self._sessions = PlaceQuota(sessions, loopback=loopback)

    def admit_login(self, host: str, *, registers: bool) -> TakenPlace:
        """Count the begin of a login or registration; returns the place of its session.

        Raises:
            AuthFailed: `throttled`: the host, or the network around it, has reached a limit.
        """
        now_s = self._clock.monotonic_s()
        wait_s = self._logins.take(host, now_s)
        if not wait_s and registers:
            wait_s = self._registrations.take(host, now_s)
        if not wait_s and self._sessions.full(host) is not None:
            wait_s = FULL_RETRY_S
            if registers:
                self.give_back_registration(host)
        if wait_s:
            raise AuthFailed("too many from this network", reason="throttled", retry_after_s=wait_s)
        return self._sessions.hold(host)

    def give_back_registration(self, host: str) -> None:
        """Uncount a registration that failed and made no account."""
        self._registrations.give_back(host, self._clock.monotonic_s())
