"""Ready-made cached analyses, one package each, run by ``cachekit run NAME``.

They are the first real users of `cachekit.memoization` and show how a pipeline is
put together: plain functions, cached where they meet, every parameter an argument.
"""

from __future__ import annotations

# The command line mounts `cachekit.pipelines.NAME.__main__:main` for each name, and
# reads this table rather than the packages, so that `--help` imports none of them.
PIPELINES: dict[str, str] = {
    "biggish": "Learn from more data than may be in memory, chunk by chunk.",
    "decoding": "Read from brain scans what was seen: its class, and its image.",
    "forest": "Choose a classifier for handwritten digits, honestly.",
    "outliers": "Compare ways to find outliers that nobody has marked.",
    "superpixels": "Paint photographs with few colours, and count what it costs.",
    "tables": "Learn from a messy table: typos, dates, missing values.",
    "topics": "Crawl a site and find the topics that its pages are about.",
}
