"""The metrics that a PromQL expression names."""

from typing import Any, cast

import promql_parser


def metrics_in(expression: str) -> set[str]:
    """The names of all selectors.

    Raises:
        ValueError: It does not parse.
    """
    found: set[str] = set()
    pending: list[Any] = [promql_parser.parse(expression)]
    while pending:
        node = pending.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found.add(cast("str", node.name))
        for part in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
            below = getattr(node, part, None)
            pending += below if isinstance(below, list) else [below] if below is not None else []
    return found
