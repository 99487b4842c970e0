"""A run: its parameters, and what is logged while it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    """

    name: str
    parameters: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: list[Path] = field(default_factory=list)
    datasets: dict[str, Dataset] = field(default_factory=dict)

    def log_metric(self, name: str, value: float) -> None:
        """Note a result that is a number; a later one of the same name takes its place.

        Parameters
        ----------
        name : str
            With its unit, if it has one: ``"test_accuracy"``, ``"peak_memory_mb"``.
        value : float
            Also a NumPy scalar.
        """
        self.metrics[name] = float(value)

    def log_artifact(self, path: Path) -> None:
        """Note a file that the run has written."""
        self.artifacts.append(path)

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
def run(name: str, parameters: Mapping[str, Any]) -> Iterator[Run]:
    """Take note of a run while its ``with`` block goes on.

    Parameters
    ----------
    name : str
        Of the pipeline or script.
    parameters : mapping
        Hyper-parameters by name.

    Yields
    ------
    Run
        To log metrics, data and files.
    """
    yield Run(name, dict(parameters))
