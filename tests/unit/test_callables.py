"""What may be handed over to be called later, and what is refused there."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.callables import discard, fault_of, is_deferred


def two(_a: object, _b: object) -> None: ...


def one(_a: object) -> None: ...


def three(_a: object, _b: object, _c: object) -> None: ...


def with_default(_a: object, _b: object, _c: int = 0) -> None: ...


def needs_keyword(_a: object, _b: object, *, _c: int) -> None: ...


def any_number(*_: object) -> None: ...


async def coroutine(_a: object, _b: object) -> None: ...


def generator(_a: object, _b: object) -> Iterator[int]:
    yield 1


async def async_generator(_a: object, _b: object) -> AsyncIterator[int]:
    yield 1


class Plain:
    def __call__(self, a: object, b: object) -> None: ...

    def method(self, a: object, b: object) -> None: ...

    async def later(self, a: object, b: object) -> None: ...


class Async:
    async def __call__(self, a: object, b: object) -> None: ...


FITS: list[Any] = [
    two,
    with_default,
    any_number,
    Plain(),
    Plain().method,
    functools.partial(with_default, 1),
    max,
]
DOES_NOT_FIT: list[tuple[Any, str]] = [
    (coroutine, "coroutine is a coroutine function"),
    (generator, "generator is a generator function"),
    (async_generator, "async_generator is a generator function"),
    (Async(), "object of Async is a coroutine function"),
    (Plain().later, "later is a coroutine function"),
    (functools.partial(coroutine, 1), "coroutine is a coroutine function"),
    (functools.partial(functools.partial(Async()), 1), "object of Async is a coroutine function"),
    (needs_keyword, "argument: '_c'"),  # newer Pythons call it keyword-only
    (one, "does not take 2 arguments"),
    (three, "does not take 2 arguments"),
    (Plain, "does not take 2 arguments"),
    (None, "cannot be called"),
    ("on_letter", "cannot be called"),
]


@pytest.mark.parametrize("function", FITS, ids=range(len(FITS)))
def test_what_can_be_called_plainly_has_no_fault(function: object) -> None:
    assert fault_of(function, 2) is None


@pytest.mark.parametrize(("function", "said"), DOES_NOT_FIT, ids=range(len(DOES_NOT_FIT)))
def test_what_cannot_be_called_or_would_do_nothing_is_named(function: object, said: str) -> None:
    fault = fault_of(function, 2)
    assert fault is not None
    assert said in fault


def test_a_generator_function_is_welcome_where_its_caller_iterates() -> None:
    assert fault_of(generator, 2, may_yield=True) is None
    assert fault_of(async_generator, 2, may_yield=True) is not None


async def test_work_that_was_not_done_is_told_from_a_result_and_dropped_without_a_warning() -> None:
    task = asyncio.ensure_future(coroutine(1, 2))
    for work in (coroutine(1, 2), generator(1, 2), async_generator(1, 2), task):
        assert is_deferred(work)
        discard(work)
    await asyncio.wait([task])
    assert task.cancelled()
    results: tuple[object, ...] = (None, 1, [1], {1: 2}, "x", two, range(3))
    assert not any(is_deferred(result) for result in results)


NAMES = ("a", "b", "c", "d")


@given(
    named=st.integers(0, 4),
    positional_only=st.integers(0, 2),
    keyword_only=st.integers(0, 2),
    defaults=st.integers(0, 3),
    bound=st.integers(0, 2),
    keywords=st.sets(st.sampled_from((*NAMES, "k0", "k1", "stranger"))),
    arguments=st.integers(0, 4),
)
def test_a_partial_of_any_function_is_judged_as_its_signature_is(
    named: int, positional_only: int, keyword_only: int, defaults: int, bound: int, keywords: set[str], arguments: int
) -> None:
    """The short cut for obvious functions and the reading of signatures come to the same."""
    parameters = [f"{name}=0" if at >= named - defaults else name for at, name in enumerate(NAMES[:named])]
    if 0 < positional_only <= named:
        parameters.insert(positional_only, "/")
    if keyword_only:
        parameters += ["*", *(f"k{at}" for at in range(keyword_only))]
    space: dict[str, Any] = {}
    exec(f"def made({', '.join(parameters)}): ...", space)
    function = functools.partial(space["made"], *[None] * bound, **dict.fromkeys(keywords))
    try:
        inspect.signature(function).bind(*[None] * arguments)
        fits = True
    except (TypeError, ValueError):
        fits = False
    assert (fault_of(function, arguments) is None) == fits
