"""Settings for every test."""

from __future__ import annotations

import os
import signal

import hypothesis

# IPython warns of an environment that is active and not the one that runs the tests.
os.environ.pop("VIRTUAL_ENV", None)

# A shell has what it runs in the background ignore Ctrl-C, and so would the programs
# that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# These machines are shared and noisy: an example may take long for no fault of its own.
hypothesis.settings.register_profile("cachekit", deadline=None)
hypothesis.settings.load_profile("cachekit")
