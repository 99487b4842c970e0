"""From images to scans: voxels with receptive fields, in a scanner that drifts.

What is left out, and real scans have: motion, noise that voxels share, attention, and
haemodynamics that saturate when events follow each other quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachekit.pipelines.decoding.haemodynamics import haemodynamic_courses, scan_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Voxels:
    """What voxels respond to, and when.

    Attributes
    ----------
    filters : ndarray, shape (n_filters, n_voxels, n_pixels)
        A voxel responds to the root of the summed squares of its filters' outputs.
    latencies : ndarray, shape (n_voxels,)
        Seconds by which their blood is later than the canonical course.
    """

    filters: NDArray[np.float64]
    latencies: NDArray[np.float64]


def make_voxels(
    *,
    shape: tuple[int, int],
    n_voxels: int,
    kind: str,
    sizes: tuple[float, ...],
    latency_sd: float,
    seed: tuple[int, ...],
) -> Voxels:
    """Draw voxels with receptive fields all over an image.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the images, in pixels.
    n_voxels : int
        How many.
    kind : {"gaussian", "gabor"}
        Population receptive fields, one filter each, or pairs of gratings a quarter
        of a wave apart under a Gaussian, 2.5 of its standard deviations to a wave.
    sizes : tuple of float
        Standard deviations of the Gaussians, in pixels: the first and the last are
        the ends of a uniform distribution.
    latency_sd : float
        Standard deviation of the latencies, in seconds.
    seed : tuple of int
        Start of the random numbers.

    Returns
    -------
    Voxels
        A white image is 1 to a Gaussian filter, and at most 1 to a Gabor filter.

    References
    ----------
    Dumoulin and Wandell (2008), NeuroImage 39, 647-660; for Gabor energy, Kay et al.
    (2008), Nature 452, 352-355.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    height, width = shape
    rows, columns = random.uniform(0, [[height - 1], [width - 1]], (2, n_voxels))
    size = random.uniform(sizes[0], sizes[-1], n_voxels)
    angles = random.uniform(0, np.pi, n_voxels)
    latencies = random.normal(0, latency_sd, n_voxels)

    pixel_rows, pixel_columns = np.mgrid[:height, :width].reshape(2, -1)
    down = pixel_rows - rows[:, None]
    right = pixel_columns - columns[:, None]
    windows = np.exp(-(down**2 + right**2) / (2 * size[:, None] ** 2))
    windows /= windows.sum(axis=1, keepdims=True)
    if kind == "gaussian":
        return Voxels(windows[None], latencies)
    along = right * np.cos(angles)[:, None] + down * np.sin(angles)[:, None]
    waves = 2 * np.pi * along / (2.5 * size[:, None])
    filters = np.stack([windows * np.cos(waves), windows * np.sin(waves)])
    return Voxels(filters, latencies)


def respond(
    images: NDArray[np.float64],
    filters: NDArray[np.float64],
    *,
    exponent: float,
    amplitude: float,
) -> NDArray[np.float64]:
    """Return how strongly each voxel responds to each image.

    Parameters
    ----------
    images : ndarray, shape (n_images, n_pixels)
        From 0 to 1.
    filters : ndarray, shape (n_filters, n_voxels, n_pixels)
        As in `Voxels`.
    exponent : float
        Below 1, much light adds less than a little light does.
    amplitude : float
        Of the response to 1, in per cent of signal change.

    Returns
    -------
    ndarray, shape (n_images, n_voxels)
        In per cent of signal change.

    References
    ----------
    Kay et al. (2013), J Neurophysiol 110, 481-494, for the exponent.
    """
    import numpy as np

    energy = np.zeros((len(images), filters.shape[1]))
    for one_filter in filters:
        energy += (images @ one_filter.T) ** 2
    responses: NDArray[np.float64] = amplitude * np.sqrt(energy) ** exponent
    return responses


def time_stimuli(
    n_stimuli: int, *, gaps: tuple[float, ...], seed: tuple[int, ...]
) -> NDArray[np.float64]:
    """Draw when stimuli begin, in seconds from the begin of a run.

    Parameters
    ----------
    n_stimuli : int
        How many.
    gaps : tuple of float
        Seconds from one to the next; each is drawn from them.
    seed : tuple of int
        Start of the random numbers; another one for each run.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    onsets: NDArray[np.float64] = np.cumsum(random.choice(gaps, n_stimuli))
    return onsets


def simulate_run(
    responses: NDArray[np.float64],
    onsets: NDArray[np.float64],
    latencies: NDArray[np.float64],
    *,
    duration: float,
    repetition_time: float,
    noise_sd: float,
    autocorrelation: float,
    drift: float,
    seed: tuple[int, ...],
) -> NDArray[np.float64]:
    """Simulate what the scanner measures in a run.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_voxels)
        In per cent of signal change.
    onsets : ndarray, shape (n_trials,)
        In seconds.
    latencies : ndarray, shape (n_voxels,)
        In seconds.
    duration : float
        How long a stimulus stands, in seconds.
    repetition_time : float
        Seconds for a volume.
    noise_sd : float
        Standard deviation of the noise, in per cent; alike in all voxels.
    autocorrelation : float
        Of the noise, from one volume to the next.
    drift : float
        Amplitude of a slow sine, of 5 to 10 minutes and any phase, in per cent.
    seed : tuple of int
        Start of the random numbers; another one for each run.

    Returns
    -------
    ndarray, shape (n_volumes, n_voxels)
        Per cent of signal change.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    times = scan_times(onsets, repetition_time=repetition_time)
    fine_times, courses = haemodynamic_courses(
        onsets, duration=duration, end=times[-1] + repetition_time
    )
    signals = courses @ responses
    scans = np.empty((len(times), len(latencies)))
    for voxel, latency in enumerate(latencies):
        scans[:, voxel] = np.interp(times - latency, fine_times, signals[:, voxel])
    scans += _noise(random, scans.shape, noise_sd, autocorrelation)
    periods = random.uniform(300, 600, len(latencies))
    phases = random.uniform(0, 2 * np.pi, len(latencies))
    scans += drift * np.sin(2 * np.pi * times[:, None] / periods + phases)
    return scans


def _noise(
    random: np.random.Generator, shape: tuple[int, ...], sd: float, correlation: float
) -> NDArray[np.float64]:
    """Draw first-order autoregressive noise, stationary from its first value on."""
    import numpy as np

    noise = random.standard_normal(shape) * sd
    fresh = np.sqrt(1 - correlation**2)
    for volume in range(1, len(noise)):
        noise[volume] = correlation * noise[volume - 1] + fresh * noise[volume]
    return noise
