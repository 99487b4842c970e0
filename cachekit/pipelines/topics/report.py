"""What the user gets to see: the files, the table, and how the crawl goes.

`draw_topics` is meant to be cached like the rest of the pipeline: a figure takes
longer to draw than all topics to find.
"""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from cachekit.memoization import Tally
from cachekit.pipelines.topics.crawl import Crawl, NoPage, Progress
from cachekit.pipelines.topics.model import Topic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from tqdm import tqdm

# --- the files ---


def draw_topics(
    topics: Sequence[Topic], *, title: str, n_columns: int, dpi: int
) -> bytes:
    """Draw the words of each topic as bars, in a panel for each topic.

    Parameters
    ----------
    topics : sequence of Topic
        What to draw, in this order.
    title : str
        Stands above all panels.
    n_columns : int
        Panels side by side, at most.
    dpi : int
        Dots per inch; a panel is 2.6 inches wide.

    Returns
    -------
    bytes
        A PNG image.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    n_columns = min(n_columns, len(topics))
    n_rows = math.ceil(len(topics) / n_columns)
    width = max(2.6 * n_columns, 5.0)
    figure = Figure(
        figsize=(width, 2.4 * n_rows + 1.0),
        dpi=dpi,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
    )
    # A canvas of our own: pyplot would look for a screen, and keep the figure.
    FigureCanvasAgg(figure)
    figure.suptitle(
        textwrap.fill(title, int(9 * width)),
        fontsize=13,
        fontweight="bold",
        parse_math=False,
    )
    caption = (
        "Per cent: the topic's share of all pages. Bars: a word's weight in its topic."
    )
    figure.supxlabel(textwrap.fill(caption, int(13 * width)), fontsize=9, color="0.4")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for panel, topic in zip(panels, topics, strict=False):
        _draw_topic(panel, topic)
    for panel in panels[len(topics) :]:
        panel.set_visible(False)
    image = io.BytesIO()
    with warnings.catch_warnings():
        # Scripts that the font does not have are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(image, format="png")
    return image.getvalue()


def _draw_topic(panel: Axes, topic: Topic) -> None:
    words = [_shortened(word, 20) for word, _ in topic.words]
    places = range(len(words))
    panel.barh(places, [weight for _, weight in topic.words], color="#4c78a8")
    panel.set_yticks(places, words, fontsize=9, parse_math=False)
    panel.invert_yaxis()
    # Lengths compare the words of one topic; their numbers are in the CSV file.
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color("0.6")
    panel.tick_params(left=False)
    panel.set_title(
        f"Topic {topic.number} · {topic.share:.1%}", fontsize=10, loc="left"
    )


def write_topics(path: Path, topics: Iterable[Topic]) -> None:
    """Write the words of each topic as CSV: topic, rank, word, weight."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["topic", "rank", "word", "weight"])
    for topic in topics:
        writer.writerows(
            [topic.number, rank, word, f"{weight:.6f}"]
            for rank, (word, weight) in enumerate(topic.words, start=1)
        )
    write_file(path, text.getvalue().encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    # In the same folder, so that the replacement is one step of the file system.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# --- the terminal ---


class CrawlBar:
    """A progress bar for the crawl, on standard error; a context manager."""

    def __init__(self, *, max_pages: int) -> None:
        self._max_pages = max_pages
        self._bar: tqdm[Any] | None = None
        self.pages_kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, progress: Progress) -> None:
        """Show how far the crawl is."""
        from tqdm import tqdm

        total = min(self._max_pages, progress.visited + progress.waiting)
        if self._bar is None:
            self._bar = tqdm(
                total=total, unit=" pages", file=sys.stderr, dynamic_ncols=True
            )
        self._bar.total = total  # grows with the links that are found
        self.pages_kept = progress.visited - progress.unreadable
        from_cache = progress.visited - progress.fetched
        self._bar.set_postfix_str(f"{from_cache} from the cache", refresh=False)
        self._bar.update(progress.visited - self._bar.n)


def print_topics(topics: Sequence[Topic], *, title: str, n_words: int) -> None:
    """Print a table with a row for each topic."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("share", justify="right")
    table.add_column("words")
    # A long address must not take the room of the words.
    table.add_column("typical page", max_width=22, overflow="ellipsis", no_wrap=True)
    for topic in topics:
        words = ", ".join(word for word, _ in topic.words[:n_words])
        row = (f"{topic.number}", f"{topic.share:.1%}", words, topic.typical)
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def echo_crawl(crawl: Crawl, *, max_listed: int) -> None:
    """Tell which pages are missing, and why."""
    _echo_missing("broken", crawl.broken, max_listed)
    _echo_missing("skipped", crawl.skipped, max_listed)
    if crawl.gave_up:
        click.echo(
            "The site stopped answering, so the rest of it is missing; "
            "the same command tries again."
        )


def _echo_missing(kind: str, missing: Sequence[NoPage], max_listed: int) -> None:
    if not missing:
        return
    click.echo(f"{_count(len(missing), 'page')} {kind}:")
    for visit in missing[:max_listed]:
        # A long path must not hide the reason.
        path, reason = _shortened(visit.path, 38), _shortened(visit.reason, 37)
        click.echo(f"  {path}: {reason}")
    if len(missing) > max_listed:
        click.echo(f"  and {len(missing) - max_listed} more")


def echo_cost(tally: Tally, *, seconds: float) -> None:
    """Tell what the cache did for this run, and how long the run took."""
    click.echo(
        f"{_count(tally.hits + tally.misses, 'call')}: {tally.hits:,} from the cache, "
        f"{tally.misses:,} computed; {tally.seconds_saved:.1f} s saved. "
        f"{seconds:.1f} s in all."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
