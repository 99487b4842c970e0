"""What has happened so far in the rounds of this process, for the one who looks on."""

from collections import Counter

counts: Counter[str] = Counter()
