"""Settings for every test."""

from __future__ import annotations

import hypothesis

# These machines are shared and noisy: an example may take long for no fault of its own.
hypothesis.settings.register_profile("cachekit", deadline=None)
hypothesis.settings.load_profile("cachekit")
