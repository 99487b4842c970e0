"""The hyper-parameters of the topics pipeline, each with its reason.

Only `__main__` reads them, and hands them on as arguments. They are therefore part of
the keys of the cached calls: another value recomputes the steps that depend on it, and
nothing else. Another `N_TOPICS` fits again without fetching a page.
"""

from __future__ import annotations

from typing import Annotated

from cachekit.pipelines.parameters import Between, OneOf

# --- the crawl ---------------------------------------------------------------------

# All modules of the standard library and most topics of the language, in about 20 s.
MAX_PAGES: Annotated[int, Between(1, 100_000)] = 400

# Seconds for one connect, read or write; pydoc needs at most 0.5 s for a page.
OPERATION_SECONDS: Annotated[float, Between(0.1, 600.0)] = 10.0

# Seconds for one page, all tries together; ends a page that drips for ever.
PAGE_SECONDS: Annotated[float, Between(0.1, 3600.0)] = 20.0

# Three times the largest page of pydoc, tkinter's 1.6 MB.
PAGE_BYTES: Annotated[int, Between(1_000, 1_000_000_000)] = 5_000_000

# Two more tries outlast a short hiccup; a longer one is for the next run.
TRIES: Annotated[int, Between(1, 20)] = 3

# Seconds before the second try, doubled before each later one.
BACKOFF_SECONDS: Annotated[float, Between(0.0, 60.0)] = 0.5

# So many unreadable pages in a row mean that the site has gone, not the page.
MAX_FAILURES_IN_A_ROW: Annotated[int, Between(1, 10_000)] = 10

# Seconds that the documentation server may take to start; it needs 0.1 s.
SERVER_START_SECONDS: Annotated[float, Between(0.1, 600.0)] = 20.0

# Visiting a page of pydoc imports the module, and these do more than define things.
PYDOC_AVOIDED = (
    "/antigravity.html",  # opens a web browser
    "/idlelib.*",  # an editor: some of its modules open windows
    "/turtledemo.*",  # opens windows
    "/*__main__.html",  # programs: they would run
    "/test.*",  # the tests of Python itself: some run when imported
    "/_test*",  # C helpers of these tests: some can crash the server
    "/_xx*",
    "/xx*",
    # pydoc imports a module anew for each visit, and a second `threading` keeps the
    # server from ending at the end of its input (Python 3.11 and 3.12).
    "/threading.html",
)

# --- the words ---------------------------------------------------------------------

# A word: three letters or more in any script. Digits, underscores and so most
# identifiers of programs are left out; they name things rather than topics.
TOKEN_PATTERN = r"\b[^\W\d_]{3,}\b"

# Besides the English ones: what pydoc and its examples say about every module.
# fmt: off
PYDOC_STOP_WORDS = (
    "abc", "args", "bar", "baseexception", "baz", "cpython", "delattr", "dynload",
    "exc", "foo", "func", "getattr", "getcodec", "gnu", "inherited", "initialized",
    "instance", "instances", "kwargs", "lib", "lineno", "linux", "msg", "obj",
    "optional", "optionally", "pkg", "root", "setattr", "spam", "usr",
)
# fmt: on

# A word on fewer pages says nothing about what pages have in common.
MIN_PAGES_PER_TERM: Annotated[int, Between(1, 10_000)] = 5

# A word on more than this share of the pages is the site's boilerplate ("built",
# "method", "return"). Topics stay readable from 0.2 to 0.3.
MAX_SHARE_OF_PAGES: Annotated[float, Between(0.0, 1.0)] = 0.25

# No word is too common on so few pages: there, a share means little.
SMALL_SITE: Annotated[int, Between(1, 10_000)] = 10

# The most frequent words; more only add names that occur in one corner of a site.
MAX_TERMS: Annotated[int, Between(1, 1_000_000)] = 4000

# --- the models --------------------------------------------------------------------

# What finds topics. The first is the one that is drawn; the others are compared with
# it. Factors of TF-IDF weights stand first: here their topics are the more coherent.
MODELS: Annotated[tuple[str, ...], OneOf("nmf", "minibatch-nmf", "lda")] = (
    "nmf",
    "lda",
)

# Few enough to read, enough to keep networking, numbers and syntax apart.
N_TOPICS: Annotated[int, Between(1, 1000)] = 12

# Any number will do; a fixed one makes two runs agree.
SEED: Annotated[int, Between(0, 2**32 - 1)] = 0

# Rounds of both kinds of NMF: coordinate descent needs 50 to 500 here.
NMF_ROUNDS: Annotated[int, Between(1, 100_000)] = 1000

# Rounds of LDA, each a hundred times slower; it settles after 30 to 50.
LDA_ROUNDS: Annotated[int, Between(1, 10_000)] = 200

# LDA has settled when ten rounds change the perplexity by less. It is about 550 here;
# another seed changes it by 15, and a tolerance of 0.5 by 0.3.
LDA_TOLERANCE: Annotated[float, Between(0.0, 1000.0)] = 2.0

# All pages in each round, or a batch at a time: worth it from thousands of pages on.
LEARNING_METHOD: Annotated[str, OneOf("batch", "online")] = "batch"

# Pages in a batch, of minibatch-nmf and of LDA that learns online.
BATCH_PAGES: Annotated[int, Between(1, 100_000)] = 128

# Priors of LDA: below 1, a page has few topics, and a topic few words. Both as small
# as 0.01 make a perplexity of 590 rather than 550.
PAGE_PRIOR: Annotated[float, Between(1e-6, 100.0)] = 0.1
WORD_PRIOR: Annotated[float, Between(1e-6, 100.0)] = 0.1

# Models fitted at once. Of two so quick ones, a second process saves what it costs.
N_JOBS: Annotated[int, Between(1, 256)] = 1

# --- what the topics are worth -----------------------------------------------------

# The words that stand for a topic where it is scored and matched.
TOP_WORDS: Annotated[int, Between(2, 1000)] = 10

# Dimensions that pages are compared in: they keep 40 % of the weights' variance, and
# what two pages say in different words is near in them.
LSA_DIMENSIONS: Annotated[int, Between(2, 1000)] = 50

# k-means begins so often, and keeps the best; each takes 2 ms. How topics of NMF agree
# with its clusters still differs by seed: an adjusted Rand index of 0.34 to 0.45, and
# of 0.25 to 0.40 with 10 starts.
CLUSTER_STARTS: Annotated[int, Between(1, 10_000)] = 100

# About how many neighbours of a page the map keeps; 15 to 50 look alike.
PERPLEXITY: Annotated[float, Between(1.0, 1000.0)] = 30.0

# Neighbours that are counted to say how far the map can be trusted.
MAP_NEIGHBOURS: Annotated[int, Between(1, 1000)] = 10

# --- the report --------------------------------------------------------------------

# Words of a topic in `topics.csv` and in the figure.
WORDS_PER_TOPIC: Annotated[int, Between(1, 1000)] = 10

# Words of a topic in the table: two or three lines of 80 columns.
WORDS_IN_TABLE: Annotated[int, Between(1, 100)] = 8

# Pages named for a topic in the table: as many as lines.
PAGES_IN_TABLE: Annotated[int, Between(1, 20)] = 2

# Broken and skipped pages named on the terminal; the rest is counted.
MAX_LISTED: Annotated[int, Between(0, 10_000)] = 5

# Dots per inch of the figures: sharp on a screen, still a small file.
FIGURE_DPI: Annotated[int, Between(30, 300)] = 150

# Panels side by side: four still leave room for the words.
FIGURE_COLUMNS: Annotated[int, Between(1, 8)] = 4

# Panels at most, those of the heaviest topics: a figure must not be taller than 65,535
# dots, and nobody reads so many.
FIGURE_TOPICS: Annotated[int, Between(1, 60)] = 60

# Topics that the map tells apart: seven colours, each with two shapes.
MAP_TOPICS: Annotated[int, Between(1, 14)] = 14
