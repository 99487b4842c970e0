"""Event loops that end, whatever happens in them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")

LONG = 30.0


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in a loop of its own; one that hangs is an error."""

    async def limited() -> R:
        return await asyncio.wait_for(coroutine, LONG)

    return asyncio.run(limited())
