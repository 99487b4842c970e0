"""The figures: the words of each topic, and a map of the pages.

Meant to be cached like the rest of the pipeline: a figure takes longer to draw than all
topics to find.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.figures import COLOURS, new_figure, png_of
from cachekit.pipelines.topics.model import Topic
from cachekit.texts import cut

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_GREY = "0.75"
_SHAPES = "o^"  # for the first seven topics of a map, and for the next


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
    n_columns = min(n_columns, len(topics))
    n_rows = math.ceil(len(topics) / n_columns)
    width = max(2.6 * n_columns, 5.0)
    figure = new_figure(width, 2.4 * n_rows + 1.0)
    _entitle(figure, title, width)
    caption = (
        "Per cent: the topic's share of all pages. Bars: a word's weight in its topic."
    )
    figure.supxlabel(textwrap.fill(caption, int(13 * width)), fontsize=9, color="0.4")
    panels = figure.subplots(
        n_rows, n_columns, squeeze=False, gridspec_kw={"wspace": 0.15, "hspace": 0.12}
    ).flatten()
    for panel, topic in zip(panels, topics, strict=False):
        _draw_topic(panel, topic)
    for panel in panels[len(topics) :]:
        panel.set_visible(False)
    return png_of(figure, dpi=dpi)


def draw_map(
    points: NDArray[np.float64],
    topics: NDArray[np.intp],
    *,
    names: Sequence[str],
    labels: Mapping[int, str],
    title: str,
    dpi: int,
) -> bytes:
    """Draw documents as points that show their topic by colour and shape.

    Parameters
    ----------
    points : ndarray, shape (n_documents, 2)
        Where they are.
    topics : ndarray of int, shape (n_documents,)
        Number of each document's topic, from 1.
    names : sequence of str
        What to call the first topics, at most 14; the rest is grey.
    labels : mapping of int to str
        Which documents to name, and how; names that find no room are left out.
    title : str
        Stands above the map.
    dpi : int
        Dots per inch; the map is 10 inches wide.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(10.0, 6.4)
    axes = figure.subplots()
    # Above the map and not the figure: there the legend is beside it.
    axes.set_title(textwrap.fill(title, 66), fontweight="bold", parse_math=False)
    others = (topics < 1) | (topics > len(names))
    if others.any():
        _scatter(axes, points[others], "others", _GREY, ".")
    for number, name in enumerate(names, start=1):
        row, place = divmod(number - 1, len(COLOURS))
        chosen = points[topics == number]
        _scatter(axes, chosen, name, COLOURS[place], _SHAPES[row])
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.set_xlabel("t-SNE 1 (no unit)")
    axes.set_ylabel("t-SNE 2 (no unit)")
    axes.spines[:].set_color("0.8")
    caption = "Near: pages with similar words. How far groups are apart says little."
    figure.supxlabel(caption, fontsize=9, color="0.4")
    legend = figure.legend(
        title="Heaviest topic",
        alignment="left",
        loc="outside right upper",
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    _label(figure, axes, points, labels)
    return png_of(figure, dpi=dpi)


def _draw_topic(panel: Axes, topic: Topic) -> None:
    words = [cut(word, 20) for word, _ in topic.words]
    places = range(len(words))
    panel.barh(places, [weight for _, weight in topic.words], color=COLOURS[0])
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


def _scatter(
    axes: Axes, points: NDArray[np.float64], name: str, colour: str, shape: str
) -> None:
    x, y = points.T
    axes.scatter(
        x, y, s=22, c=colour, marker=shape, alpha=0.8, linewidths=0, label=name
    )


def _label(
    figure: Figure,
    axes: Axes,
    points: NDArray[np.float64],
    labels: Mapping[int, str],
) -> None:
    """Name points, each on the first side where there is room for it."""
    from matplotlib.patheffects import withStroke

    with _ignoring_glyphs():
        figure.draw_without_rendering()  # the layout: labels are measured in dots
    placed = [axes.spines["top"].get_window_extent()]
    for document, text in labels.items():
        for x, y, sides in _SIDES:
            label = axes.annotate(
                cut(text, 24),
                points[document],
                xytext=(x, y),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                **sides,
            )
            label.set_in_layout(False)
            with _ignoring_glyphs():
                box = label.get_window_extent()
            is_inside = box.x0 > axes.bbox.x0 and box.x1 < axes.bbox.x1
            if is_inside and not box.count_overlaps(placed):
                placed.append(box)
                break
            label.remove()


# Offsets in points, and how the text is aligned there: right, left, above, below.
_SIDES: tuple[tuple[float, float, dict[str, Any]], ...] = (
    (5, 0, {"ha": "left", "va": "center"}),
    (-5, 0, {"ha": "right", "va": "center"}),
    (0, 5, {"ha": "center", "va": "bottom"}),
    (0, -5, {"ha": "center", "va": "top"}),
)


def _entitle(figure: Figure, title: str, width: float) -> None:
    figure.suptitle(
        textwrap.fill(title, int(9 * width)),
        fontsize=13,
        fontweight="bold",
        parse_math=False,
    )


@contextmanager
def _ignoring_glyphs() -> Iterator[None]:
    """Let scripts that the font does not have be drawn as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
