"""Kill processes whatever they do, and look at what they leave."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

from cachekit import Memory
from cachekit.stores import LocalStore
from cachekit.stores.local import MOST_STATS_FILES
from tests.torture.answers import Caller, assert_all_is_whole, leftovers
from tests.torture.children import Child, Children

BOUTS = 3
KEEPERS, CHURNERS = 2, 3
LONGEST_PAUSE = 0.1  # seconds between two deaths
MOST_STEPS = 400  # on the disk, before a death


def killed(chance: random.Random, folder: Path) -> None:
    """Kill all users of two stores at once, again and again.

    From one store nothing is removed, so that what was reported as stored has to stay;
    in the other one anything happens.
    """
    kept, churned = folder / "kept", folder / "churned"
    reported: set[int] = set()
    with Children(folder / "errors") as children:
        for bout in range(BOUTS):
            reported |= _kill_all(children, chance, kept, churned)

            for root in (kept, churned):
                assert_all_is_whole(LocalStore(root))
            _assert_kept(kept, reported)
            children.start("survive", kept, churned, 1000 + bout).finish()
            dead = (bout + 1) * (KEEPERS + CHURNERS)
            for root in (kept, churned):
                _assert_swept(root, dead)


def _kill_all(
    children: Children, chance: random.Random, kept: Path, churned: Path
) -> set[int]:
    """Start users, kill each, and return what they reported."""

    def start(command: str, root: Path, *more: object) -> Child:
        death = chance.choice(["never", chance.randrange(MOST_STEPS)])
        child = children.start(command, root, chance.getrandbits(32), death, *more)
        if death == "never":
            to_kill.append(child)
        return child

    to_kill: list[Child] = []
    keepers = [start("keep", kept) for _ in range(KEEPERS)]
    churners = [start("churn", churned, "never") for _ in range(CHURNERS)]
    for child in (*keepers, *churners):
        child.await_ready()
    for child in to_kill:
        time.sleep(chance.uniform(0, LONGEST_PAUSE))  # no event says at which moment
        child.kill()
    said = [child.finish(-signal.SIGKILL) for child in (*keepers, *churners)]
    return {int(line) for lines in said[:KEEPERS] for line in lines}


def _assert_kept(root: Path, reported: set[int]) -> None:
    memory = Memory(root)
    caller = Caller(memory)
    for number in reported:
        caller.ask(number)
    assert memory.tally().misses == 0, "what was stored is lost"
    for code in root.glob("[!.]*/*"):
        assert json.loads((code / "code.json").read_bytes())["function"]


def _assert_swept(root: Path, killed: int) -> None:
    left = leftovers(root, ".staging")
    assert not left, f".staging is not swept: {left}"
    excused = [path for path in (root / ".leases").glob("*") if _may_stay(path)]
    left = sorted({*leftovers(root, ".leases")} - {path.name for path in excused})
    assert not left, f".leases is not swept: {left}"
    assert len(excused) <= killed, f"{killed} dead have left {excused}"
    count = len(leftovers(root, ".stats"))
    assert count <= MOST_STATS_FILES + CHURNERS, f"{count} files of statistics"


def _may_stay(lease: Path) -> bool:
    """Tell whether nobody can know yet that a file in ``.leases`` is a dead one's.

    Where leases are files, whoever dies between making one and writing his name into it
    leaves it empty, until somebody wants its key. What a dead one waited for is swept
    after his lease.
    """
    return lease.suffix == ".waits" or lease.lstat().st_size == 0
