"""What the user gets to see: two tables, and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cachekit.pipelines.figures import COLOURS, new_figure, png_of
from cachekit.pipelines.superpixels.coding import mean_colours
from cachekit.pipelines.superpixels.model import FeatureCost
from cachekit.pipelines.superpixels.scores import Cost

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COSTS_HEADER = (
    "image",
    "method",
    "superpixels",
    "rmse_levels",
    "psnr_db",
    "explained_variance",
    "bytes",
    "times_smaller",
)
FEATURES_HEADER = ("features", "rmse", "explained_variance", "accuracy")

_COLUMNS = 4

# Dots across a panel, about: what is smaller is repeated, so that lines stay thin.
_PANEL_DOTS = 720

# --- the tables ---


def cost_rows(
    costs: Mapping[tuple[str, str], Sequence[Cost]],
) -> Iterator[tuple[Any, ...]]:
    """Yield what each painted image costs, as under `COSTS_HEADER`.

    Parameters
    ----------
    costs : mapping of (str, str) to sequence of Cost
        By image and method.
    """
    for (image, method), sequence in costs.items():
        for cost in sequence:
            yield (
                image,
                method,
                cost.n_superpixels,
                cost.rmse,
                cost.psnr,
                cost.explained_variance,
                cost.n_bytes,
                cost.ratio,
            )


def feature_rows(costs: Sequence[FeatureCost]) -> Iterator[tuple[Any, ...]]:
    """Yield what few features cost, as under `FEATURES_HEADER`."""
    for cost in costs:
        yield cost.n_features, cost.rmse, cost.explained_variance, cost.accuracy


def print_costs(
    costs: Mapping[tuple[str, str], Sequence[Cost]], features: Sequence[FeatureCost]
) -> None:
    """Print what superpixels and features cost.

    Parameters
    ----------
    costs : mapping of (str, str) to sequence of Cost
        By image and method, which is "ward" or "blocks".
    features : sequence of FeatureCost
        Of the digits.
    """
    from rich.console import Console
    from rich.table import Table

    def table(title: str, *names: str) -> Table:
        made = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in names:
            made.add_column(name, justify="right")
        return made

    photographs = table(
        "Photographs by superpixels",
        "image",
        "superpixels",
        "error",
        "PSNR",
        "of blocks",
        "size",
        "smaller",
    )
    for (image, method), sequence in costs.items():
        if method == "blocks":
            continue
        for cost, block in zip(sequence, costs[image, "blocks"], strict=True):
            photographs.add_row(
                image,
                f"{cost.n_superpixels:,}",
                f"{cost.rmse:.1f}",
                f"{cost.psnr:.1f} dB",
                f"{block.psnr:.1f} dB",
                f"{cost.n_bytes / 1000:.1f} kB",
                f"{cost.ratio:.1f} x",
            )
    digits = table(
        "Digits by features", "features", "error", "explained variance", "accuracy"
    )
    for feature in features:
        digits.add_row(
            f"{feature.n_features}",
            f"{feature.rmse:.3f}",
            f"{feature.explained_variance:.1%}",
            f"{feature.accuracy:.1%}",
        )
    console = Console(highlight=False)
    console.print(photographs)
    console.print()
    console.print(digits)


# --- the figures ---


def draw_superpixels(
    image: NDArray[np.uint8],
    cuts: Sequence[NDArray[np.int64]],
    costs: Sequence[Cost],
    *,
    name: str,
    n_png_bytes: int,
    min_pixels: int,
    dpi: int,
) -> bytes:
    """Draw a photograph, and how it looks when it is painted by superpixels.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        The photograph.
    cuts : sequence of ndarray of int, shape (height, width)
        The superpixel of each pixel.
    costs : sequence of Cost
        Of the cuts.
    name : str
        Of the photograph.
    n_png_bytes : int
        Its size as a PNG file.
    min_pixels : int
        Boundaries are drawn where superpixels have this many pixels, on average.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    height, width = image.shape[:2]
    n_columns = min(_COLUMNS, 1 + len(cuts))
    n_rows = math.ceil((1 + len(cuts)) / n_columns)
    panel_height = 3.0 * height / width + 0.3
    figure = new_figure(max(3.0 * n_columns, 4.5), panel_height * n_rows + 0.4)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    panels[0].imshow(image, interpolation="none")
    panels[0].set_title(
        f"all {height * width:,} pixels · PNG {n_png_bytes / 1000:.1f} kB", fontsize=9
    )
    for panel, labels, cost in zip(panels[1:], cuts, costs, strict=False):
        has_lines = labels.size >= min_pixels * cost.n_superpixels
        panel.imshow(_paint(image, labels, has_lines=has_lines), interpolation="none")
        panel.set_title(
            f"{cost.n_superpixels:,} · {cost.psnr:.1f} dB · "
            f"{cost.n_bytes / 1000:.1f} kB",
            fontsize=9,
        )
    figure.suptitle(f"{name}: superpixels · peak signal-to-noise ratio · size")
    return png_of(figure, dpi=dpi)


def draw_costs(
    costs: Mapping[tuple[str, str], Sequence[Cost]],
    features: Sequence[FeatureCost],
    *,
    dpi: int,
) -> bytes:
    """Draw what is left against the number of superpixels, the size, and the features.

    Parameters
    ----------
    costs : mapping of (str, str) to sequence of Cost
        By image and method.
    features : sequence of FeatureCost
        Of the digits.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        A PNG image.
    """
    figure = new_figure(13.0, 4.2)
    by_number, by_size, by_features = figure.subplots(1, 3)
    images = list(dict.fromkeys(image for image, _ in costs))
    for (image, method), sequence in costs.items():
        style: dict[str, Any] = {
            "color": COLOURS[images.index(image)],
            "marker": "o" if method == "ward" else "s",
            "linestyle": "-" if method == "ward" else "--",
            "markersize": 4,
            "label": f"{image}, {'superpixels' if method == 'ward' else 'blocks'}",
        }
        lossy = [cost for cost in sequence if math.isfinite(cost.psnr)]
        decibels = [cost.psnr for cost in lossy]
        by_number.plot([cost.n_superpixels for cost in lossy], decibels, **style)
        by_size.plot([cost.n_bytes / 1000 for cost in lossy], decibels, **style)
    for panel, label in ((by_number, "superpixels"), (by_size, "size, kB")):
        panel.set_xscale("log")
        panel.set_xlabel(label)
        panel.set_ylabel("peak signal-to-noise ratio, dB")
        panel.legend(frameon=False, fontsize=8)
    by_number.set_title("Photographs: what is left")
    by_size.set_title("Photographs: what it takes")
    _draw_features(by_features, features)
    for panel in (by_number, by_size, by_features):
        panel.grid(color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return png_of(figure, dpi=dpi)


def _draw_features(panel: Axes, features: Sequence[FeatureCost]) -> None:
    numbers = [cost.n_features for cost in features]
    left = [100 * cost.explained_variance for cost in features]
    right = [100 * cost.accuracy for cost in features]
    panel.plot(numbers, right, color=COLOURS[2], marker="o", label="recognised")
    panel.plot(
        numbers,
        left,
        color=COLOURS[3],
        marker="s",
        linestyle="--",
        label="variance explained",
    )
    panel.set_ylim(0, 102)
    panel.set_xlabel("features, of 64 pixels")
    panel.set_ylabel("share, %")
    panel.set_title("Digits: what few features cost")
    panel.legend(frameon=False, fontsize=8, loc="lower right")


def _paint(
    image: NDArray[np.uint8], labels: NDArray[np.int64], *, has_lines: bool
) -> NDArray[np.uint8]:
    """Paint each superpixel in its colour, large, with thin white lines between."""
    import numpy as np

    scale = max(1, round(_PANEL_DOTS / labels.shape[1]))
    large = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    colours = np.rint(mean_colours(image, labels)).astype(np.uint8)
    painted: NDArray[np.uint8] = colours[large]
    if has_lines:
        is_line = np.zeros(large.shape, bool)
        is_line[:, 1:] |= large[:, 1:] != large[:, :-1]
        is_line[1:] |= large[1:] != large[:-1]
        painted[is_line] = painted[is_line] // 2 + 127
    return painted
