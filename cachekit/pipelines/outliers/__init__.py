"""Compare ways to find outliers: the ``cachekit run outliers`` example.

The classes are known, but no detector is told them: half of the usual rows, with a few
of the others mixed in, are what it learns from, and the rest shows how well it ranks
what it has not seen. Which rows these are changes the figures a lot, so that each
detector is scored on many draws. Every score is a cached call, computed by `Parallel`:
one more detector, or one more draw, computes only that. A good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `data`, what is an outlier, and a draw of rows;
3. `detectors`, one function each;
4. `model`, how a detector is scored, and where in a plane it draws the line;
5. `report`, what the user gets to see.

`const` holds every hyper-parameter, each with its reason.
"""
