"""Learn from more data than may be in memory: the ``cachekit run biggish`` example.

Half a gigabyte of records goes by in chunks of four megabytes, in a process that may
add 128 MB to what its libraries take. The chunks come from a cached generator: it is
stored item by item as it is first followed, and streams back item by item. What reads
it is a cached call as well, so a second run computes nothing, and another penalty of
the classifier reads neither the records nor the notes in them again. The records are
simulated, so it is known what has to be found, and each result is held against it. A
good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `data`, the stream of records, and what is true of them;
3. `reduction`, streams made of it: random projections, and hashed notes;
4. `model`, what learns from a stream, one chunk at a time;
5. `passes`, the progress and the memory of one pass over a stream;
6. `checks`, what was found beside what is true, and `report`, what the user sees.

`const` holds every hyper-parameter, each with its reason.
"""
