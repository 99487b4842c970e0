"""Ready-made cached analyses, one package each, run by ``cachekit run NAME``.

They are the first real users of `cachekit.memoization` and show how a pipeline is
put together: plain functions, cached where they meet, every parameter an argument.
"""

from __future__ import annotations

# The command line mounts `cachekit.pipelines.NAME.__main__:main` for each name, and
# reads this table rather than the packages, so that `--help` imports none of them.
PIPELINES: dict[str, str] = {
    "topics": "Crawl a site and find the topics that its pages are about.",
}
