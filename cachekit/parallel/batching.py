"""How many tasks go to a worker at once, and how many batches are handed out.

A task that takes microseconds is not worth a message of its own; one that takes
seconds is not to wait behind another.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

# What a batch should take: much longer than a message, and not noticed by a person.
SHORTEST = 0.02
LONGEST = 0.5

# A batch grows or shrinks by so much at once: the first tasks may not be typical.
LARGEST_STEP = 8


class BatchSizer:
    """Chooses the size of batches by how long the last ones took."""

    def __init__(self) -> None:
        self.size = 1

    def completed(self, size: int, seconds: float) -> None:
        """Take note of how long a batch took."""
        if size != self.size:  # it was sent before the last change
            return
        if seconds < SHORTEST:
            wanted = size * SHORTEST / max(seconds, 1e-6)
            self.size = int(min(max(wanted, size + 1), size * LARGEST_STEP))
        elif seconds > LONGEST and size > 1:
            wanted = size * SHORTEST / seconds
            self.size = int(max(wanted, size / LARGEST_STEP, 1))


def most_in_flight(pre_dispatch: int | str, workers: int) -> int:
    """Return how many batches may be under way.

    Raises
    ------
    ValueError
        If `pre_dispatch` is not understood.
    """
    if pre_dispatch == "all":
        return 1 << 62
    if isinstance(pre_dispatch, str):
        value = _evaluate(pre_dispatch.replace("n_jobs", str(workers)))
    else:
        value = pre_dispatch
    return max(int(value), 1)


def _evaluate(text: str) -> float:
    if len(text) > 30:
        raise ValueError(f"pre_dispatch={text!r} is longer than it should be")
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, KeyError, ZeroDivisionError) as error:
        raise ValueError(
            f"pre_dispatch={text!r} is neither 'all', nor a number, nor a sum such as "
            f"'2 * n_jobs'"
        ) from error


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.BinOp):
        return float(_OPERATORS[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise TypeError(node)


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
