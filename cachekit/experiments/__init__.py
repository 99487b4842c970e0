"""Runs: what was computed, from which parameters and data, and how well it went."""

from cachekit.experiments.run import Dataset, Run, run

__all__ = ["Dataset", "Run", "run"]
