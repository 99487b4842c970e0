"""How many tasks go to a worker at once.

A task that takes microseconds is not worth a message of its own; one that takes
seconds is not to wait behind another.
"""

from __future__ import annotations

# What a batch should take: much longer than a message, and not noticed by a person.
SHORTEST = 0.02
LONGEST = 0.5

# A batch grows or shrinks by so much at once: the first tasks may not be typical.
LARGEST_STEP = 8


class BatchSizer:
    """Chooses the size of batches by how long the last ones took."""

    def __init__(self) -> None:
        self.size = 1

    def completed(self, size: int, seconds: float) -> None:
        """Take note of how long a batch took."""
        if size != self.size:  # it was sent before the last change
            return
        if seconds < SHORTEST:
            wanted = size * SHORTEST / max(seconds, 1e-6)
            self.size = int(min(max(wanted, size + 1), size * LARGEST_STEP))
        elif seconds > LONGEST and size > 1:
            wanted = size * SHORTEST / seconds
            self.size = int(max(wanted, size / LARGEST_STEP, 1))
