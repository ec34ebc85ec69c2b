"""Functions that are handed over: checked where they are registered, for what is wrong with them would be heard nowhere later.

A coroutine function that is called as a plain one does nothing, and says nothing: a letter that it was to apply would be gone.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

_DEFERRED: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR


def fault_of(function: object, arguments: int, *, may_yield: bool = False) -> str | None:
    """Why `function` cannot be called plainly with so many positional arguments; None if it can.

    Coroutine functions, generator functions, and objects, methods and partials of such are named for what they are. What has
    no readable signature, such as some functions written in C, is taken to fit.

    Args:
        function: What was handed over.
        arguments: How many positional ones it will get.
        may_yield: A generator function is welcome: its caller iterates over what it returns.
    """
    if type(function) is FunctionType:
        code = function.__code__
        if code.co_argcount == arguments and not code.co_flags & _DEFERRED and not code.co_kwonlyargcount:
            return None  # nearly all of them, and a commit asks each time
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


def deferred(result: object) -> bool:
    """Whether what a plain function returned is work that has not been done: a coroutine, an awaitable, a generator."""
    return hasattr(result, "__await__") or inspect.isgenerator(result) or inspect.isasyncgen(result)


def discard(result: object) -> None:
    """Drop work that will not be done; a coroutine that is dropped unclosed would warn where nobody looks."""
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
    elif (cancel := getattr(result, "cancel", None)) is not None:
        cancel()  # of a task or a future


def name_of(function: object) -> str:
    """What to call it in a message."""
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
