"""What a person sees of a loop: bars, messages, what workers log and print."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory, Parallel, delayed

BACKENDS = ["loky", "multiprocessing", "threading", "sequential"]


def half(x: int) -> float:
    if x < 0:
        raise ValueError(x)
    return x / 2


def talk(x: int) -> int:
    logging.getLogger("tests.talk").warning("at %d", x)
    sys.stdout.write(f"printed {x}\n")
    sys.stderr.write(f"told {x}\n")
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bar_counts_what_is_done_and_what_failed(
    backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Parallel(n_jobs=2, backend=backend, progress=True, on_error="skip")(
        delayed(half)(x) for x in (1, 2, -3, 4)
    )

    shown = capfd.readouterr().err
    assert "4/4" in shown
    assert "failed=1" in shown


def test_a_bar_counts_hits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cached = Memory(tmp_path).cache(half)
    cached(1)

    Parallel(n_jobs=2, progress=True)(delayed(cached)(x) for x in (1, 2))

    assert "hits=1" in capfd.readouterr().err


def test_a_bar_for_a_loop_of_unknown_length_learns_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    list(
        Parallel(n_jobs=2, prefer="threads", progress=True, return_as="generator")(
            delayed(half)(x) for x in range(7)
        )
    )

    shown = capfd.readouterr().err
    assert "7/7" in shown
    assert "0 tasks [" in shown


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_what_workers_log_reaches_the_handlers_here(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Parallel(n_jobs=2, backend=backend)(delayed(talk)(x) for x in (1, 2)) == [
        1,
        2,
    ]

    told = sorted(record.getMessage() for record in caplog.records)
    assert told == ["at 1", "at 2"]


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_what_workers_print_is_shown_where_this_process_prints(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)  # as a notebook has it
    monkeypatch.setattr(sys, "stderr", err)

    Parallel(n_jobs=2, backend=backend)(delayed(talk)(x) for x in (1, 2))

    assert sorted(out.getvalue().splitlines()) == ["printed 1", "printed 2"]
    assert sorted(err.getvalue().splitlines()) == ["told 1", "told 2"]


def test_what_is_not_logged_here_is_not_sent_by_workers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        Parallel(n_jobs=2)(delayed(talk)(x) for x in (1, 2))

    assert caplog.records == []


def test_a_class_may_show_its_own_progress() -> None:
    class Counting(Parallel):
        seen: list[int] = []  # noqa: RUF012

        def print_progress(self) -> None:
            self.seen.append(self.n_completed_tasks)

    for n_jobs in (1, 2):
        Counting.seen.clear()
        loop: Any = Counting(n_jobs=n_jobs, prefer="threads")
        loop(delayed(half)(x) for x in range(5))
        assert Counting.seen[-1] == 5
