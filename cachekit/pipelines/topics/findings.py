"""What a run has found: the words for it that `__main__` and `report` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cachekit.amounts import counted
from cachekit.pipelines.topics.comparison import Match
from cachekit.pipelines.topics.crawl import Crawl
from cachekit.pipelines.topics.model import Factors, Topic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Where the pages are, as far as their words say.

    Attributes
    ----------
    vectors : ndarray, shape (n_pages, n_dimensions)
        Their directions in the space of words, reduced.
    points : ndarray, shape (n_pages, 2)
        On the map.
    clusters : ndarray of int, shape (n_pages,)
        Number of each page's cluster, 1 for the largest.
    trustworthiness : float
        Of the map, 1 at best; NaN for fewer than three pages.
    """

    vectors: NDArray[np.float64]
    points: NDArray[np.float64]
    clusters: NDArray[np.intp]
    trustworthiness: float


@dataclass(frozen=True)
class Finding:
    """What one model found, and what it is worth.

    Attributes
    ----------
    factors : Factors
        Pages by topics, and topics by words.
    topics : list of Topic
        The heaviest first.
    coherences : ndarray, shape (n_topics,)
        Of each topic, in nats.
    matches : list of Match
        Topics of the first model, each with the one of this model that is like it.
        Empty for the first model itself.
    scores : dict of str to float
        By name: how good and how like the first model's the topics are.
    """

    factors: Factors
    topics: list[Topic]
    coherences: NDArray[np.float64]
    matches: list[Match]
    scores: dict[str, float]


@dataclass(frozen=True)
class Result:
    """What a run found, and where it wrote it.

    Attributes
    ----------
    site : str
        What was looked at, for people.
    crawl : Crawl
        The pages read, skipped and broken.
    pages, terms : tuple of str
        Paths of the pages that have words, and the words.
    findings : dict of str to Finding
        By model; the first is the one that is drawn.
    layout : Layout
        Where the pages are.
    files : tuple of Path, default ()
        The files written.
    """

    site: str
    crawl: Crawl
    pages: tuple[str, ...]
    terms: tuple[str, ...]
    findings: dict[str, Finding]
    layout: Layout
    files: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """What was looked at, and how much of it."""
        return f"{self.site}, {counted(len(self.pages), 'page')}"
