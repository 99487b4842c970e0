"""The hyper-parameters of the topics pipeline, each with its reason.

Only `__main__` reads them, and hands them on as arguments. They are therefore part of
the keys of the cached calls: an edit here recomputes the steps that depend on it, and
nothing else. Another `N_TOPICS` fits again without fetching a page.
"""

from __future__ import annotations

# --- the crawl ---------------------------------------------------------------------

# All modules of the standard library and most topics of the language, in about 20 s.
MAX_PAGES = 400

# Seconds for one connect, read or write; pydoc needs at most 0.5 s for a page.
OPERATION_SECONDS = 10.0

# Seconds for one page, all tries together; ends a page that drips for ever.
PAGE_SECONDS = 20.0

# Three times the largest page of pydoc, tkinter's 1.6 MB.
PAGE_BYTES = 5_000_000

# Two more tries outlast a short hiccup; a longer one is for the next run.
TRIES = 3

# Seconds before the second try, doubled before each later one.
BACKOFF_SECONDS = 0.5

# So many unreadable pages in a row mean that the site has gone, not the page.
MAX_FAILURES_IN_A_ROW = 10

# Seconds that the documentation server may take to start; it needs 0.1 s.
SERVER_START_SECONDS = 20.0

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

# --- the model ---------------------------------------------------------------------

# Few enough to read, enough to keep networking, numbers and syntax apart.
N_TOPICS = 12

# Any number will do; a fixed one makes two runs agree.
SEED = 0

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
MIN_PAGES_PER_TERM = 5

# A word on more than this share of the pages is the site's boilerplate ("built",
# "method", "return"). Topics stay readable from 0.2 to 0.3.
MAX_SHARE_OF_PAGES = 0.25

# No word is too common on so few pages: there, a share means little.
SMALL_SITE = 10

# The most frequent words; more only add names that occur in one corner of a site.
MAX_TERMS = 4000

# Coordinate descent needs 50 to 200 rounds here.
MAX_ITERATIONS = 1000

# --- the report --------------------------------------------------------------------

# Words of a topic in `topics.csv` and in the figure.
WORDS_PER_TOPIC = 10

# Words of a topic in the table: two lines of 80 columns.
WORDS_IN_TABLE = 8

# Broken and skipped pages named on the terminal; the rest is counted.
MAX_LISTED = 5

# Dots per inch of the figure: sharp on a screen, still a small file.
FIGURE_DPI = 150

# Panels side by side: four still leave room for the words.
FIGURE_COLUMNS = 4

# Panels at most, those of the heaviest topics: a figure must not be taller than 65,535
# dots, and nobody reads so many.
FIGURE_TOPICS = 60
