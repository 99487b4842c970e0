"""How blood follows neurons: the slow course of what a scanner sees of an event.

Both sides use it: `encoding` to simulate scans, `model` to take them apart again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds; fine enough for the shortest image that may be asked for.
_STEP = 0.1

# Seconds after which nothing is left of a response.
RESPONSE_SECONDS = 30.0


def glover_hrf(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the canonical response to a very short event.

    A peak at about 5 s and a weak undershoot after it, each a gamma function.

    Parameters
    ----------
    seconds : ndarray
        Times after the event; before it, the response is 0.

    Returns
    -------
    ndarray, of the same shape
        Without a unit.

    References
    ----------
    Glover (1999), NeuroImage 9, 416-429: ``n1 = 6, t1 = 0.9 s, n2 = 12, t2 = 0.9 s,
    a2 = 0.35``, from auditory cortex.
    """
    return _gamma(seconds, 6.0, 0.9) - 0.35 * _gamma(seconds, 12.0, 0.9)


def haemodynamic_courses(
    onsets: NDArray[np.float64], *, duration: float, end: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the course of the signal that each event causes.

    Parameters
    ----------
    onsets : ndarray, shape (n_events,)
        When events begin, in seconds.
    duration : float
        How long they last, in seconds.
    end : float
        How long to go on, in seconds.

    Returns
    -------
    times : ndarray, shape (n_times,)
        In seconds, from 0 on in small steps.
    courses : ndarray, shape (n_times, n_events)
        The response of a voxel of amplitude 1: each whole course has its peak at 1.
    """
    import numpy as np
    from scipy.signal import fftconvolve

    times = np.arange(0.0, end, _STEP)
    since = times[:, None] - onsets
    events = (since > -_STEP / 2) & (since < duration - _STEP / 2)
    kernel = glover_hrf(np.arange(0.0, RESPONSE_SECONDS, _STEP))
    one_event = np.ones(max(round(duration / _STEP), 1))
    kernel = kernel / np.convolve(kernel, one_event).max()
    courses = fftconvolve(events.astype(float), kernel[:, None], axes=0)
    return times, courses[: len(times)]


def scan_times(
    onsets: NDArray[np.float64], *, repetition_time: float
) -> NDArray[np.float64]:
    """Return when the volumes of a run are taken, in seconds: 16 s past the last event.

    Parameters
    ----------
    onsets : ndarray, shape (n_events,)
        When events begin, in seconds.
    repetition_time : float
        Seconds for a volume.
    """
    import numpy as np

    return np.arange(0.0, onsets[-1] + 16.0, repetition_time)


def _gamma(seconds: NDArray[Any], power: float, scale: float) -> NDArray[Any]:
    """Return ``t**power * exp(-t / scale)``, with its highest point at 1."""
    import numpy as np

    t = np.clip(seconds, 0.0, None)
    highest = (power * scale) ** power * math.exp(-power)
    course: NDArray[Any] = t**power * np.exp(-t / scale) / highest
    return course
