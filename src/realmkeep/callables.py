"""Checks functions that a game hands over, when they are registered.

A coroutine function called as a plain one does nothing and reports nothing: a letter that it should apply would be lost.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

_DEFERRED: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR


def fault_of(function: object, arguments: int, *, may_yield: bool = False) -> str | None:
    """Return why `function` cannot be called plainly with that many positional arguments; None if it can.

    Refused are coroutine functions, generator functions, and objects, methods and partials of such. A function without a
    readable signature, such as some written in C, is assumed to fit.

    Args:
        function: The function.
        arguments: The number of positional arguments it will get.
        may_yield: Accept a generator function: its caller iterates over the result.
    """
    if type(function) is FunctionType:
        code = function.__code__
        if code.co_argcount == arguments and not code.co_flags & _DEFERRED and not code.co_kwonlyargcount:
            return None  # the fast path for nearly all functions: each commit checks its own
    if not callable(function):
        return f"{name_of(function)} cannot be called"
    if (what := _deferred(function, may_yield=may_yield)) is not None:
        return f"{name_of(function)} is {what}"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        return f"{name_of(function)}{signature} does not take {arguments} arguments: {error}"
    return None


def is_deferred(result: object) -> bool:
    """Whether a plain function returned work instead of doing it: a coroutine, an awaitable, a generator."""
    return hasattr(result, "__await__") or inspect.isgenerator(result) or inspect.isasyncgen(result)


def discard(result: object) -> None:
    """Drop work that will not be done; a coroutine dropped without closing would only cause a late warning."""
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
    elif (cancel := getattr(result, "cancel", None)) is not None:
        cancel()  # of a task or a future


def name_of(function: object) -> str:
    """Return a function's name for a message."""
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - of anything
    return str(getattr(function, "__qualname__", None) or f"an object of {type(function).__qualname__}")  # pyright: ignore[reportUnknownArgumentType] - as above


def _deferred(function: Callable[..., Any], *, may_yield: bool) -> str | None:
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - of anything
    candidates = [inner]
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        candidates.append(type(inner).__call__)
    for each in candidates:
        if inspect.iscoroutinefunction(each):
            return "a coroutine function"
        if inspect.isasyncgenfunction(each) or (inspect.isgeneratorfunction(each) and not may_yield):
            return "a generator function"
    return None
