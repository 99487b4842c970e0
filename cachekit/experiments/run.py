"""A run: its parameters, and what is logged while it goes on.

::

    with run("ridge", {"alpha": 0.5}, memory=memory) as this:
        score = evaluate(fit(load("a.csv"), alpha=0.5))
        this.log_metric("r2", score)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

from cachekit.experiments.recording import Recording
from cachekit.memoization import Memory


@dataclass(frozen=True)
class Dataset:
    """What a run says of data that it has used.

    Attributes
    ----------
    source : str
        Where the data is from.
    split : str
        How it was divided: ``"5 folds, stratified"``.
    statistics : dict
        Numbers and texts by name: how many rows, features, classes.
    """

    source: str
    split: str = ""
    statistics: dict[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """What is known of a run.

    Attributes
    ----------
    name : str
        Of the pipeline or script.
    parameters : dict
        Hyper-parameters by name.
    metrics : dict of str to float
        Results that are numbers.
    artifacts : list of Path
        Files that it has written.
    datasets : dict of str to Dataset
        The data it has used.
    seeds : dict
        Where its random numbers begin, besides parameters whose names say "seed".
    id : str
        What ``cachekit runs show`` calls it.
    """

    name: str
    parameters: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: list[Path] = field(default_factory=list)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    seeds: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    def log_metric(self, name: str, value: SupportsFloat) -> None:
        """Note a result that is a number; a later one of the same name takes its place.

        Parameters
        ----------
        name : str
            With its unit, if it has one: ``"test_accuracy"``, ``"peak_memory_mb"``.
        value : float
            Also a NumPy scalar.
        """
        self.metrics[name] = float(value)

    def log_artifact(self, path: str | os.PathLike[str]) -> None:
        """Note a file, or a folder, that the run has written.

        Parameters
        ----------
        path : path-like
            Where it is. Its size and digest are taken at the end of the run.
        """
        self.artifacts.append(Path(path))

    def log_seed(self, name: str, value: int) -> None:
        """Note a seed that is not among the parameters.

        Parameters
        ----------
        name : str
            What it is for.
        value : int
            Where the random numbers begin.
        """
        self.seeds[name] = value

    def log_dataset(
        self, name: str, *, source: str, split: str = "", **statistics: Any
    ) -> None:
        """Note which data was used.

        Parameters
        ----------
        name : str
            Of the data.
        source : str
            Where it is from, so that somebody else can get it.
        split : str, optional
            How it was divided into what is learned from and what is tested on.
        **statistics : int, float or str
            What describes it: ``rows=1797, features=64``.
        """
        self.datasets[name] = Dataset(source, split, statistics)


@contextmanager
def run(
    name: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    memory: Memory | None = None,
) -> Iterator[Run]:
    """Record a run while its ``with`` block goes on.

    The record tells parameters, metrics, files, data, the cached calls and which of
    them were computed, the commit and the changes to it, command line, packages and
    machine. It is in the store of `memory`, also of a run that fails or is interrupted;
    ``cachekit runs`` lists what there is.

    Parameters
    ----------
    name : str
        Of the pipeline or script.
    parameters : mapping, optional
        Hyper-parameters by name.
    memory : Memory, optional
        What the calls are cached in; by default that of `cachekit.cache`.

    Yields
    ------
    Run
        To log metrics, data, files and seeds.

    Warns
    -----
    CacheWarning
        If the record cannot be written. The run goes on.

    Notes
    -----
    Parameters, the command line and changes to the repository are recorded as they
    are: secrets do not belong there. The environment is not recorded, but for what
    decides how many threads and which random numbers there are.
    """
    this = Run(name, dict(parameters or {}))
    with Recording(this, memory):
        yield this
