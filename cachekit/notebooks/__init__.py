"""The cell magic ``%%cache``: run a cell of a notebook once.

::

    %load_ext cachekit

    %%cache
    model = fit(data)

 1 `magic`   the options, and the memory that they name
 2 `names`   which names the cell reads, and which it binds
 3 `cell`    key, run and store; or look up, and play again
 4 `kept`    what the cell has bound, to bytes and back
 5 `shown`   what it shows, recorded and shown again

What comes back otherwise than it was is not kept: the cell just runs, and a
`CacheWarning` says why. IPython is imported when the extension is loaded.
"""

from cachekit.notebooks.magic import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
