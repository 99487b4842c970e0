"""What holds of the backends of all clusters; and tasks to show it with."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing import TimeoutError as TaskTimeout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cachekit import Memory, Parallel, delayed, parallel_config
from cachekit.errors import MissingExtra
from cachekit.parallel.clusters import ClusterBackend
from cachekit.parallel.config import effective_n_jobs
from cachekit.parallel.tasks import RemoteTraceback

# How long a test waits for what should come at once.
PATIENCE = 30


def square(x: int) -> int:
    return x * x


def when(x: int) -> tuple[int, float, float]:
    """Return in which process it was, from when to when."""
    began = time.monotonic()
    time.sleep(0.01 + 0 * x)
    return os.getpid(), began, time.monotonic()


def note(witness: Path) -> None:
    """Note in a file that something was done."""
    file = os.open(witness, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, b".")
    os.close(file)


def count(witness: Path) -> int:
    return witness.stat().st_size if witness.exists() else 0


def wait_until(path: Path, size: int = 1) -> None:
    """Wait, in any process, until a file is so large."""
    end = time.monotonic() + PATIENCE
    while count(path) < size:
        assert time.monotonic() < end, f"{path.name} has not come"
        time.sleep(0.01)


def meet(folder: Path, x: int) -> int:
    """Return in which process it was, once two processes are here."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < end, "the other worker has not come"
        time.sleep(0.01)
    return os.getpid() + 0 * x


def note_when_released(witness: Path, release: Path) -> None:
    wait_until(release)
    note(witness)
    time.sleep(0.2)  # meanwhile its worker hears that the others are cancelled


def fail(x: int) -> int:
    if x == 3:
        raise LookupError(f"no {x}")
    return x


def die(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_once(x: int, witness: Path) -> int:
    if x == 3 and not witness.exists():
        note(witness)
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def total(table: Any, x: int) -> tuple[float, int]:
    return float(np.asarray(table).sum()) + x, os.getpid()


def is_writable(array: Any) -> bool:
    return bool(array.flags.writeable)


def squares_inside(n: int, backend: str | None) -> list[int]:
    return list(
        Parallel(n_jobs=2, backend=backend)(delayed(square)(i) for i in range(n))
    )


def costly(x: int, witness: Path) -> int:
    note(witness)
    time.sleep(0.3)  # long enough for the others to find it under way
    return x + 1


def call_after_meeting(function: Any, folder: Path, *args: Any) -> Any:
    meet(folder, 0)
    return function(*args)


def counting(kind: type[ClusterBackend]) -> Any:
    """Return a backend that counts the bytes that it sends."""

    class Counting(kind):  # type: ignore[misc, valid-type]
        put_bytes = 0
        sent_bytes = 0

        def _put(self, memory: Any) -> Any:
            self.put_bytes += memory.nbytes
            return super()._put(memory)

        def _send(self, name: str, shipment: Any, placed: list[Any]) -> Any:
            self.sent_bytes += len(pickle.dumps(shipment))
            return super()._send(name, shipment, placed)

    return Counting()


SCRIPT = """
import sys
from pathlib import Path
from cachekit import Memory, Parallel, delayed, parallel_config

offset = 7

class Point:
    def __init__(self, x):
        self.x = x

memory = Memory(sys.argv[1], verbose=0)

def helper(x):
    return x + offset

@memory.cache
def point(x):
    return Point(helper(x))

if __name__ == "__main__":
    {connect}
    with parallel_config({backend!r}):
        points = Parallel()(delayed(point)(x) for x in range(3))
    assert [one.x for one in points] == [7, 8, 9]
    assert all(isinstance(one, Point) for one in points)
    assert all(point.check_call_in_cache(x) for x in range(3))
    print(sorted(path.name for path in Path(sys.argv[1]).glob("*.point*")))
"""


class ClusterContract:
    """The tests; a subclass has fixtures for its cluster, of two processes."""

    name: str
    kind: type[ClusterBackend]
    module: str

    # How a script gets to the same cluster.
    connect: str

    @pytest.fixture(autouse=True)
    def chosen(self, cluster: Any) -> Any:
        del cluster
        with parallel_config(self.name):
            yield

    @pytest.fixture
    def memory(self, tmp_path: Path) -> Memory:
        return Memory(tmp_path / "store", verbose=0)

    # --- results ---

    def test_results_come_in_the_order_of_the_tasks(self) -> None:
        results = Parallel()(delayed(square)(x) for x in range(50))

        assert results == [x * x for x in range(50)]

    def test_tasks_run_at_once_in_processes_of_the_cluster(
        self, tmp_path: Path
    ) -> None:
        folder = tmp_path / "here"
        folder.mkdir()

        workers = Parallel(batch_size=1)(delayed(meet)(folder, x) for x in range(2))

        assert len({*workers, os.getpid()}) == 3

    def test_functions_without_a_name_are_sent_by_value(self) -> None:
        offset = 5

        results = Parallel()(delayed(lambda x: x + offset)(x) for x in range(4))

        assert results == [5, 6, 7, 8]

    @pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
    def test_results_are_yielded(self, return_as: str) -> None:
        results = Parallel(return_as=return_as)(delayed(square)(x) for x in range(20))

        assert sorted(results) == [x * x for x in range(20)]

    def test_a_large_result_comes_back_whole_and_writable(self) -> None:
        (result, _) = Parallel()(delayed(np.ones)(500_000) for _ in range(2))

        result += 1
        assert result.sum() == 1_000_000

    def test_as_many_run_at_once_as_the_cluster_has_room_for(self) -> None:
        assert [effective_n_jobs(n) for n in (-1, -2, 2, 5)] == [2, 1, 2, 2]
        with pytest.raises(ValueError, match="no meaning"):
            effective_n_jobs(0)

    @pytest.mark.parametrize("n_jobs", [1, -2])
    def test_one_task_at_a_time_runs_on_the_cluster_too(self, n_jobs: int) -> None:
        results = Parallel(n_jobs=n_jobs, batch_size=1)(
            delayed(when)(x) for x in range(6)
        )

        assert os.getpid() not in {worker for worker, _, _ in results}
        times = sorted(moment for _, *moments in results for moment in moments)
        assert times == [moment for _, *moments in results for moment in moments]

    def test_loops_inside_tasks_do_not_wait_for_one_another(self) -> None:
        calls = [(n, backend) for n in range(4) for backend in (None, self.name)]

        results = Parallel()(delayed(squares_inside)(*call) for call in calls)

        assert results == [[i * i for i in range(n)] for n, _ in calls]

    # --- errors ---

    def test_an_error_tells_the_task_and_where_in_its_code(self) -> None:
        with pytest.raises(LookupError, match="no 3") as caught:
            Parallel()(delayed(fail)(x) for x in range(10))

        assert caught.value.__notes__ == ["It was raised by task 3: fail(3)"]
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert 'raise LookupError(f"no {x}")' in str(caught.value.__cause__)

    def test_errors_can_be_returned(self) -> None:
        results = Parallel(on_error="return")(delayed(fail)(x) for x in range(5))

        assert results[:3] + results[4:] == [0, 1, 2, 4]
        assert isinstance(results[3], LookupError)

    def test_a_result_that_cannot_be_sent_is_an_error_of_its_task(self) -> None:
        with pytest.raises(pickle.PicklingError, match="cannot be sent") as caught:
            Parallel()([delayed(square)(0), delayed(threading.Lock)()])

        assert "task 1" in "".join(caught.value.__notes__)

    def test_tasks_that_wait_are_not_run_after_an_error(self, tmp_path: Path) -> None:
        witness, release = tmp_path / "witness", tmp_path / "release"
        tasks = [delayed(fail)(3)]
        tasks += [delayed(note_when_released)(witness, release)] * 20

        with pytest.raises(LookupError):
            Parallel(batch_size=1, pre_dispatch="all")(tasks)
        note(release)
        again = Parallel()(delayed(square)(x) for x in range(4))

        assert again == [0, 1, 4, 9]
        assert count(witness) < 10  # those that ran before the workers heard of it

    def test_a_task_may_take_only_so_long(self, tmp_path: Path) -> None:
        never = tmp_path / "release"
        tasks = [delayed(wait_until)(never) for _ in range(2)]

        with pytest.raises(TaskTimeout, match="longer than timeout"):
            Parallel(timeout=0.5)(tasks)
        note(never)

    def test_the_tasks_of_a_lost_worker_are_run_again(self, tmp_path: Path) -> None:
        witness = tmp_path / "witness"

        results = Parallel(batch_size=1)(
            delayed(die_once)(x, witness) for x in range(8)
        )

        assert results == list(range(8))
        assert witness.exists()

    def test_a_task_that_always_kills_its_worker_is_an_error(self) -> None:
        with pytest.raises(Exception, match=self.lost_worker) as caught:
            Parallel(batch_size=1, **self.once)(delayed(die)(x) for x in range(8))

        # It may be one that waited in the same worker: Dask suspects them all.
        assert re.search(r"task \d: die\(\d\)", "".join(caught.value.__notes__))

    lost_worker: str
    once: dict[str, Any]

    # --- large arrays ---

    @pytest.mark.parametrize("make", [np.ones, lambda n: pd.DataFrame(np.ones((n, 1)))])
    def test_an_array_that_all_tasks_need_is_sent_once(self, make: Any) -> None:
        shared = make(50_000_000 // 8)
        backend = counting(self.kind)

        results = Parallel(backend=backend, batch_size=1)(
            delayed(total)(shared, x) for x in range(20)
        )

        assert [result for result, _ in results] == [6_250_000 + x for x in range(20)]
        assert 50_000_000 <= backend.put_bytes < 50_100_000
        assert backend.sent_bytes < 100_000

    def test_what_changes_between_loops_is_sent_again(self) -> None:
        shared = np.ones(1_000_000)
        parallel = Parallel()

        before = parallel(delayed(total)(shared, 0) for _ in range(2))
        shared[:] = 2
        after = parallel(delayed(total)(shared, 0) for _ in range(2))

        assert [result for result, _ in before] == [1_000_000] * 2
        assert [result for result, _ in after] == [2_000_000] * 2

    def test_shared_arrays_are_read_only_in_tasks(self) -> None:
        shared, small = np.ones(1_000_000), np.ones(2)

        results = Parallel()(delayed(is_writable)(a) for a in (shared, small))

        assert results == [False, True]

    @pytest.mark.parametrize("options", [{"mmap_mode": "c"}, {"max_nbytes": None}])
    def test_tasks_may_have_copies(self, options: dict[str, Any]) -> None:
        shared = np.ones(200_000)

        results = Parallel(**options)(delayed(is_writable)(shared) for _ in range(2))

        assert results == [True, True]

    def test_writing_to_the_arrays_of_the_caller_is_refused(self) -> None:
        with pytest.raises(ValueError, match="does not come"):
            Parallel(mmap_mode="w+")(delayed(square)(x) for x in range(2))

    # --- cached functions ---

    def test_results_of_cached_functions_are_found_here(
        self, memory: Memory, tmp_path: Path
    ) -> None:
        cached = memory.cache(costly, ignore=["witness"])
        witness = tmp_path / "witness"

        results = Parallel()(delayed(cached)(x, witness) for x in range(4))

        assert results == [1, 2, 3, 4]
        assert all(cached.check_call_in_cache(x, witness) for x in range(4))
        assert count(witness) == 4

    def test_one_worker_computes_what_several_ask_for(
        self, memory: Memory, tmp_path: Path
    ) -> None:
        cached = memory.cache(costly, ignore=["witness"])
        witness, folder = tmp_path / "witness", tmp_path / "here"
        folder.mkdir()

        results = Parallel(batch_size=1)(
            delayed(call_after_meeting)(cached, folder, 5, witness) for _ in range(8)
        )

        assert results == [6] * 8
        assert count(witness) == 1

    def test_functions_of_a_script_keep_their_names_and_keys(
        self, cluster: Any, tmp_path: Path
    ) -> None:
        script = tmp_path / "study.py"
        connect = self.connect.format(address=self.address(cluster))
        script.write_text(
            textwrap.dedent(SCRIPT).format(connect=connect, backend=self.name)
        )

        done = subprocess.run(
            [sys.executable, script, tmp_path / "store"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "['study.point']"

    def address(self, cluster: Any) -> str:
        raise NotImplementedError

    # --- what is not there ---

    def test_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, self.module, None)

        with pytest.raises(MissingExtra, match=rf"cachekit-lab\[{self.name}\]"):
            parallel_config(self.name)
