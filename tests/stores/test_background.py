"""`Background` does what it was given, in order, and by the end of the program."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cachekit.stores.background import Background

LONG = 60.0  # more than anything takes here

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Hold up tasks that wait for it, to the end of the test at most."""
    event = threading.Event()
    yield event
    event.set()


def test_one_thread_does_tasks_in_the_order_in_which_they_came() -> None:
    background, done = Background("testing", threads=1), list[int]()

    for number in range(1000):
        background.run(lambda number=number: done.append(number))  # type: ignore[misc]

    assert background.wait(LONG)
    assert done == list(range(1000))


def test_as_many_tasks_as_threads_run_at_once() -> None:
    background, together = Background("testing", threads=3), threading.Barrier(3)
    met = []

    for _ in range(3):
        background.run(lambda: met.append(together.wait(LONG)))

    assert background.wait(LONG)
    assert sorted(met) == [0, 1, 2]


def test_waiting_ends_when_the_last_task_is_done(gate: threading.Event) -> None:
    background, done = Background("testing", threads=2), list[str]()

    def late() -> None:
        gate.wait(LONG)
        done.append("late")

    background.run(late)
    background.run(lambda: done.append("early"))

    assert not background.wait(0.01)
    gate.set()

    assert background.wait(LONG)
    assert done == ["early", "late"]


def test_who_has_nothing_to_do_is_not_waited_for() -> None:
    assert Background("testing").wait(0)


def test_a_full_queue_holds_up_who_brings_more(gate: threading.Event) -> None:
    background, brought = Background("testing", threads=1, most=2), threading.Event()
    running = threading.Event()

    def hold() -> None:
        running.set()
        gate.wait(LONG)

    background.run(hold)
    assert running.wait(LONG)
    for _ in range(2):
        background.run(hold)

    def bring_one_more() -> None:
        background.run(lambda: None)
        brought.set()

    with ThreadPoolExecutor(1) as pool:
        bringing = pool.submit(bring_one_more)
        assert not brought.wait(0.05)
        gate.set()
        bringing.result(LONG)

    assert background.wait(LONG)


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
def test_a_task_that_fails_does_not_stop_the_others(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    background, done = Background("sending things", threads=1), list[int]()

    def fail() -> None:
        raise error

    for _ in range(3):
        background.run(fail)
    background.run(lambda: done.append(1))

    assert background.wait(LONG if error is ValueError else 5)
    assert done == [1]
    assert "failed while sending things" in caplog.text


def test_a_task_may_bring_another() -> None:
    background, done = Background("testing", threads=1), list[int]()

    background.run(lambda: background.run(lambda: done.append(1)))

    assert background.wait(LONG)
    assert done == [1]


def test_where_no_thread_can_be_started_tasks_are_done_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    background, done = Background("testing"), list[int]()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        background.run(lambda: done.append(1))

    assert background.wait(5)
    assert done == [1]


@needs_fork
def test_a_fork_does_not_do_the_tasks_of_its_parent(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        """
        gate = threading.Event()
        background = Background("testing", threads=1)
        background.run(gate.wait)
        background.run(lambda: note("inherited"))
        child = os.fork()
        if child == 0:
            gate.set()
            assert background.wait(0)
            background.run(lambda: note("of the child"))
            assert background.wait(60)
            os._exit(0)
        os.waitpid(child, 0)
        note("the child has ended")
        gate.set()
        """,
    )

    assert ran.notes == ["of the child", "the child has ended", "inherited"]


@needs_fork
def test_a_fork_in_the_midst_of_much_work_can_work(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        """
        background = Background("testing", most=4)
        stop = threading.Event()
        def bring():
            while not stop.is_set():
                background.run(lambda: None)
        threading.Thread(target=bring, daemon=True).start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                background.run(lambda: note("done"))
                os._exit(0 if background.wait(30) else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        """,
    )

    assert ran.code == 0, ran.errors
    assert ran.notes == ["done"] * 20


LATE = """
def late():
    time.sleep(0.05)
    note("done")
background = Background("testing")
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit(4)", 4),
        ("raise ValueError('of the user')", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_the_end_of_a_program_waits_for_its_tasks(
    tmp_path: Path, end: str, code: int
) -> None:
    ran = run(tmp_path, f"{LATE}\nbackground.run(late)\n{end}")

    assert ran.notes == ["done"]
    assert ran.code == code


@pytest.mark.parametrize(
    "start",
    [
        "threading.Thread(target=bring).start()",
        "ThreadPoolExecutor(1).submit(bring)",
    ],
)
def test_what_a_thread_brings_after_the_end_of_main_is_done(
    tmp_path: Path, start: str
) -> None:
    ran = run(
        tmp_path,
        f"""{LATE}
def bring():
    waited.wait(60)
    background.run(late)
{start}
""",
    )

    assert ran.notes == ["done"], ran.errors
    assert ran.code == 0


def test_what_is_brought_at_the_very_end_is_done(tmp_path: Path) -> None:
    ran = run(tmp_path, f"{LATE}\natexit.register(lambda: background.run(late))")

    assert ran.notes == ["done"], ran.errors


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows only spawns")
def test_the_end_of_a_child_of_multiprocessing_waits(
    tmp_path: Path, method: str
) -> None:
    ran = run(
        tmp_path,
        f"""{LATE}
def work():
    background.run(late)
if __name__ == "__main__":
    child = multiprocessing.get_context({method!r}).Process(target=work)
    child.start()
    child.join()
    note(str(child.exitcode))
""",
    )

    assert ran.notes == ["done", "0"], ran.errors


def test_ctrl_c_leaves_the_rest(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        """
        background = Background("sending things")
        background.run(lambda: [note("begun"), threading.Event().wait()])
        """,
    )
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            # It says so after a while.
            assert b"still sending things" in process.stderr.readline()

            process.send_signal(signal.SIGINT)

            _, more = process.communicate(timeout=LONG)
        finally:
            process.kill()
    assert b"still" not in more
    assert notes(tmp_path) == ["begun"]


# --- a program ---


class Ran:
    """What became of a program."""

    def __init__(self, code: int, errors: str, notes: list[str]) -> None:
        self.code = code
        self.errors = errors
        self.notes = notes


START = """
import atexit, multiprocessing, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Such callbacks are called in reverse: this one after that of the background.
waited = threading.Event()
threading._register_atexit(waited.set)

from cachekit.stores.background import Background

NOTES = Path(__file__).parent / "notes"

def note(text):
    with NOTES.open("a") as file:
        file.write(text + "\\n")
"""


def write(folder: Path, script: str) -> Path:
    path = folder / "script.py"
    path.write_text(START + textwrap.dedent(script))
    return path


def run(folder: Path, script: str) -> Ran:
    path = write(folder, script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", path],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    return Ran(done.returncode, done.stderr, notes(folder))


def notes(folder: Path) -> list[str]:
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []
