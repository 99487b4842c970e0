"""Find what the pages of a web site are about: the ``cachekit run topics`` example.

A crawl over real HTTP, then term counts and TF-IDF, and two models of topics,
non-negative matrix factorisation (NMF) and latent Dirichlet allocation (LDA), which are
compared; out come tables on the terminal, CSV files, a figure of the topics, and a map
of the pages. Every step is a cached call, and every page is one, so that an interrupted
crawl goes on where it stopped and a second run computes nothing. A good order to read
it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `crawl`, pages by their links, and what one page holds;
3. `terms`, from texts to weights of words, and `model`, from those to topics;
4. `comparison`, which topics are coherent, and which two models agree on;
5. `similarity`, pages near each other: a map, clusters, and how topics agree with them;
6. `report`, what the user gets to see, and `drawing`, the figures;
7. `session`, HTTP with time limits, and `sites`, where the pages come from.

`const` holds every hyper-parameter, each with its reason.
"""
