"""Read from brain scans what was seen: the ``cachekit run decoding`` example.

Handwritten digits are shown to simulated voxels: receptive fields, haemodynamics,
noise. From the scans alone, a classifier then tells which digit it was, and a
regression draws it. ``--data miyawaki2008`` and ``--data haxby`` take real scans.
A good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `data`, what a trial is, the digits, and the folds;
3. `encoding`, from images to scans, and `haemodynamics`, the slow blood;
4. `model`, back from scans to digits and images, and `scores`, how good that is;
5. `report`, what the user gets to see;
6. `scans`, the real ones.

`const` holds every hyper-parameter, each with its reason.
"""
