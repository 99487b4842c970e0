"""The superpixels pipeline on one screen, and its command.

::

    load_photograph -> grow_tree -> cut_tree, each number -> measure -> draw_superpixels
                    '-> png_size    cut_blocks, likewise  -> measure -> draw_costs
    load_digits     -> agglomerate_features, each number -----------'

The functions know nothing of the cache. They become cached calls here, where they
meet, and get every hyper-parameter from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachekit.memoization import Memory
from cachekit.parallel import Parallel, delayed
from cachekit.pipelines.command import list_parameters, pipeline_options, running
from cachekit.pipelines.files import write_file, write_table
from cachekit.pipelines.parameters import Parameters
from cachekit.pipelines.superpixels import const, report
from cachekit.pipelines.superpixels.coding import png_size
from cachekit.pipelines.superpixels.data import load_digits, load_photograph
from cachekit.pipelines.superpixels.model import (
    FeatureCost,
    agglomerate_features,
    cut_blocks,
    cut_tree,
    grow_tree,
)
from cachekit.pipelines.superpixels.scores import Cost, measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Result:
    """What superpixels and features cost, and where it was written.

    Attributes
    ----------
    photographs : dict of str to ndarray, shape (height, width, 3)
        By name.
    cuts : dict of (str, str) to list of ndarray, shape (height, width)
        The superpixel of each pixel, by photograph and method, for each number of
        superpixels; the methods are "ward" and "blocks".
    costs : dict of (str, str) to list of Cost
        Of the cuts.
    png_sizes : dict of str to int
        Bytes of each photograph, if nothing is lost.
    features : list of FeatureCost
        Of the digits, for each number of features.
    paths : tuple of Path
        The files.
    """

    photographs: dict[str, NDArray[np.uint8]]
    cuts: dict[tuple[str, str], list[NDArray[np.int64]]]
    costs: dict[tuple[str, str], list[Cost]]
    png_sizes: dict[str, int]
    features: list[FeatureCost]
    paths: tuple[Path, ...] = ()


def run(parameters: Parameters, *, memory: Memory, output: Path) -> Result:
    """Paint photographs by superpixels, and digits by features; write what it costs.

    Parameters
    ----------
    parameters : Parameters
        As in `const`.
    memory : Memory
        Where results are kept.
    output : Path
        Folder for the files; made if needed.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        If more superpixels are asked for than there are pixels.
    OSError
        If the files cannot be written.
    """
    p, names = parameters, list(dict.fromkeys(parameters.IMAGES))
    photographs = {
        name: memory.cache(load_photograph)(name, width=p.WIDTH) for name in names
    }
    cuts = _cut(photographs, p, memory)
    costs = {
        (name, method): Parallel(n_jobs=p.N_JOBS)(
            delayed(memory.cache(measure))(photographs[name], labels)
            for labels in of_method
        )
        for (name, method), of_method in cuts.items()
    }
    digits = memory.cache(load_digits)(test_share=p.TEST_SHARE, seed=p.SEED)
    result = Result(
        photographs=photographs,
        cuts=cuts,
        costs=costs,
        png_sizes={name: memory.cache(png_size)(photographs[name]) for name in names},
        features=Parallel(n_jobs=p.N_JOBS)(
            delayed(memory.cache(agglomerate_features))(
                digits, n_features=number, c=p.CLASSIFIER_C
            )
            for number in sorted(set(p.N_FEATURES))
        ),
    )
    return replace(result, paths=_write(result, p, memory, output))


def _cut(
    photographs: dict[str, NDArray[np.uint8]], p: Parameters, memory: Memory
) -> dict[tuple[str, str], list[NDArray[np.int64]]]:
    """Grow a tree for each photograph, and cut it at each number."""
    trees = Parallel(n_jobs=p.N_JOBS, progress=True)(
        [delayed(memory.cache(grow_tree))(image) for image in photographs.values()]
    )
    numbers = sorted(set(p.N_SUPERPIXELS))
    cuts: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
    for (name, image), tree in zip(photographs.items(), trees, strict=True):
        shape = image.shape[:2]
        cuts[name, "ward"] = Parallel(n_jobs=p.N_JOBS)(
            delayed(memory.cache(cut_tree))(tree, shape=shape, n_clusters=number)
            for number in numbers
        )
        # Quicker to compute than to look up.
        cuts[name, "blocks"] = [cut_blocks(shape, n_clusters=n) for n in numbers]
    return cuts


def _write(
    result: Result, p: Parameters, memory: Memory, output: Path
) -> tuple[Path, ...]:
    """Write tables and figures, and return where they are."""
    rows = report.cost_rows(result.costs)
    features = report.feature_rows(result.features)
    paths = [output / "superpixels.csv", output / "superpixels_features.csv"]
    write_table(paths[0], report.COSTS_HEADER, rows)
    write_table(paths[1], report.FEATURES_HEADER, features)

    draw_superpixels = memory.cache(report.draw_superpixels)
    for name, image in result.photographs.items():
        paths.append(output / f"superpixels_{name}.png")
        figure = draw_superpixels(
            image,
            result.cuts[name, "ward"],
            result.costs[name, "ward"],
            name=name,
            n_png_bytes=result.png_sizes[name],
            min_pixels=p.MIN_PIXELS_FOR_BOUNDARIES,
            dpi=p.FIGURE_DPI,
        )
        write_file(paths[-1], figure)
    paths.append(output / "superpixels_costs.png")
    figure = memory.cache(report.draw_costs)(
        result.costs, result.features, dpi=p.FIGURE_DPI
    )
    write_file(paths[-1], figure)
    return tuple(paths)


@click.command("superpixels", epilog=list_parameters(const))
@pipeline_options(const)
def main(parameters: Parameters, memory: Memory, output: Path) -> None:
    """Paint photographs with few colours, and count what it costs.

    Merges touching pixels that look alike into a tree, and cuts it at several numbers
    of superpixels; then merges the pixels of digits into few features. Writes
    superpixels.csv, superpixels_features.csv, and figures.
    """
    needs = ("matplotlib", "PIL", "scipy", "sklearn")
    with running("superpixels", parameters, memory, needs=needs) as log:
        result = run(parameters, memory=memory, output=output)
        for name, image in result.photographs.items():
            log.log_dataset(
                name,
                source="scikit-learn's sample images",
                height=image.shape[0],
                width=image.shape[1],
                png_bytes=result.png_sizes[name],
            )
            for cost in result.costs[name, "ward"]:
                end = f"{name}_{cost.n_superpixels}"
                log.log_metric(f"psnr_db_{end}", cost.psnr)
                log.log_metric(f"bytes_{end}", cost.n_bytes)
        log.log_dataset(
            "digits",
            source="scikit-learn's handwritten digits",
            split=f"{parameters.TEST_SHARE:.0%} to test on, stratified",
            rows=1797,
            features=64,
            classes=10,
        )
        for feature in result.features:
            end = f"{feature.n_features}_features"
            log.log_metric(f"accuracy_{end}", feature.accuracy)
            log.log_metric(f"explained_variance_{end}", feature.explained_variance)
        for path in result.paths:
            log.log_artifact(path)
        report.print_costs(result.costs, result.features)


if __name__ == "__main__":
    main()
