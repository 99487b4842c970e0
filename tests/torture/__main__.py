"""Play many rounds: ``python -m tests.torture --rounds 100``, or ``--minutes 10``."""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.torture.counts import counts
from tests.torture.scenarios import SCENARIOS, play


def main() -> int:
    """Play rounds until one fails, with a line for each; return an exit status."""
    options = _options()
    names = options.only or list(SCENARIOS)
    _say(f"seed {options.seed}: {', '.join(names)}")
    if options.minutes is None:
        end, most = math.inf, options.rounds or 10
    else:
        end, most = time.monotonic() + 60 * options.minutes, None
    for number in itertools.islice(itertools.count(options.first), most):
        if time.monotonic() > end:
            break
        times = []
        for name in names:
            folder = Path(tempfile.mkdtemp(prefix="torture-"))
            started = time.monotonic()
            try:
                play(name, folder, seed=options.seed, number=number)
            except KeyboardInterrupt:
                shutil.rmtree(folder, ignore_errors=True)
                _say(f"stopped in round {number}, by hand")
                return 130
            except AssertionError:
                traceback.print_exc()
                _say(f"what is left of it is in {folder}; to do it again:")
                _say(f"  --seed {options.seed} --first {number} --only {name}")
                return 1
            shutil.rmtree(folder)
            times.append(f"{name} {time.monotonic() - started:.1f} s")
        _say(f"round {number}: {', '.join(times)}")
    for what, count in sorted(counts.items()):
        _say(f"{count:>9,} {what}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--rounds", type=int, help="how many (10)")
    length.add_argument("--minutes", type=float, help="for so long instead")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first round"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument(
        "--only", action="append", choices=SCENARIOS, help="may be given again"
    )
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
