"""Counts logins by their kind and outcome."""

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from realmkeep.errors import AuthFailed

LoginCounts: TypeAlias = Counter[tuple[str, str]]


class CountsLogins(Protocol):
    """An object with the counter.

    Attributes:
        logins: Logins by their kind (`password`, `ticket`, `registration`) and outcome (`ok`, the reason of `AuthFailed`, or
            `error` for any other failure).
    """

    logins: LoginCounts


P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=CountsLogins)
Method = Callable[Concatenate[S, P], Awaitable[T]]


def counted(how: str) -> Callable[[Method[S, P, T]], Callable[Concatenate[S, P], Coroutine[Any, Any, T]]]:
    """Count the calls of a method by their outcome.

    Args:
        how: The kind of login.
    """

    def decorate(method: Method[S, P, T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        @wraps(method)
        async def counting(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            outcome = "error"
            try:
                result = await method(self, *args, **kwargs)
                outcome = "ok"
            except AuthFailed as error:
                outcome = error.reason
                raise
            finally:
                self.logins[how, outcome] += 1
            return result

        return counting

    return decorate
