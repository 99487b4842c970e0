"""Figures without a screen, as the bytes of a PNG image, which a cache can keep.

Functions that draw are cached like the others of a pipeline: to draw takes longer than
much of what is drawn.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by people of all kinds of colour vision: Okabe and Ito (2008),
# https://jfly.uni-koeln.de/color/, the yellow left out, which is faint on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with its own canvas, and a layout without overlaps.

    Parameters
    ----------
    width, height : float
        In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    # A canvas of our own: pyplot would look for a screen, and keep the figure.
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure, *, dpi: int) -> bytes:
    """Return a figure as a PNG image.

    Parameters
    ----------
    figure : Figure
        What was drawn.
    dpi : int
        Dots per inch.
    """
    image = io.BytesIO()
    with warnings.catch_warnings():
        # Scripts that the font does not have are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Without the version of the library: equal figures have equal bytes.
        figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    return image.getvalue()
