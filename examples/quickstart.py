"""Run this twice: the second time, nothing is computed.

python examples/quickstart.py
"""

import time

from cachekit import cache


@cache
def slow_square(x: int) -> int:
    """Square a number, slowly."""
    time.sleep(1)
    return x * x


if __name__ == "__main__":
    started = time.perf_counter()
    print([slow_square(x) for x in range(3)])
    print(f"{time.perf_counter() - started:.2f} s")
