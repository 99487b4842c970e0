"""Runs: what was computed, from which parameters and data, and how well it went."""

from cachekit.experiments.documents import find_run, remove_run, runs
from cachekit.experiments.record import CallRecord, RunRecord
from cachekit.experiments.run import Dataset, Run, run

__all__ = [
    "CallRecord",
    "Dataset",
    "Run",
    "RunRecord",
    "find_run",
    "remove_run",
    "run",
    "runs",
]
