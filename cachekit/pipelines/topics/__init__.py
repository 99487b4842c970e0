"""Find what the pages of a web site are about: the ``cachekit run topics`` example.

A crawl over real HTTP, then term counts, TF-IDF and a non-negative matrix
factorisation; out come a table on the terminal, ``topics.csv`` and ``topics.png``.
Every step is a cached call, and every page is one, so that an interrupted crawl goes
on where it stopped and a second run computes nothing. A good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `crawl`, pages by their links, and what one page holds;
3. `model`, from texts to topics;
4. `report`, what the user gets to see;
5. `session`, HTTP with time limits, and `sites`, where the pages come from.

`const` holds every hyper-parameter, each with its reason.
"""
