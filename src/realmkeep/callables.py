"""Checks functions that a game hands over, when they are registered.

A coroutine function called as a plain one does nothing and reports nothing: a letter that it should apply would be lost.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Final

_NOT_OBVIOUS: Final = (
    inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_GENERATOR
    | inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
)


def fault_of(function: object, arguments: int, *, may_yield: bool = False) -> str | None:
    """Return why `function` cannot be called plainly with that many positional arguments; None if it can.

    Refused are coroutine functions, generator functions, and objects, methods and partials of such. A function without a
    readable signature, such as some written in C, is assumed to fit.

    Args:
        function: The function.
        arguments: The number of positional arguments it will get.
        may_yield: Accept a generator function: its caller iterates over the result.
    """
    if type(function) is FunctionType:  # nearly always: each commit checks its own, and a signature takes 10 us
        code = function.__code__
        if code.co_argcount == arguments and not code.co_kwonlyargcount and not code.co_flags & _NOT_OBVIOUS:
            return None
    if _obviously_fits(function, arguments):
        return None
    if not callable(function):
        return f"{name_of(function)} cannot be called"
    if (what := _deferred(function, may_yield=may_yield)) is not None:
        return f"{name_of(function)} is {what}"
    inner, bound, keywords = _unbound(function)
    try:
        signature = inspect.signature(inner)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*bound, *[None] * arguments, **keywords)
    except TypeError as error:
        return f"{name_of(function)}{signature} does not take {len(bound) + arguments} arguments: {error}"
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


def _unbound(function: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the function of a partial, and what the partial binds; the signature of a wrong partial cannot be read."""
    if isinstance(function, functools.partial):
        return function.func, function.args, function.keywords
    return function, (), {}


def _obviously_fits(function: Any, given: int) -> bool:
    """Whether a function of named parameters, or a method or a partial of one, gets exactly these, and runs at once."""
    inner, bound, keywords = _unbound(function)
    given += len(bound)
    if isinstance(inner, MethodType):
        inner, given = inner.__func__, given + 1
    if type(inner) is not FunctionType:
        return False
    code = inner.__code__
    if code.co_flags & _NOT_OBVIOUS or not code.co_posonlyargcount <= given <= code.co_argcount:
        return False
    others = code.co_varnames[given : code.co_argcount + code.co_kwonlyargcount]
    return len(others) == len(keywords) and all(name in keywords for name in others)


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
