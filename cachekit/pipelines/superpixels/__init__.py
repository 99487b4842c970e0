"""Paint photographs with few colours: the ``cachekit run superpixels`` example.

Pixels that touch and look alike are merged, pair after pair, into one tree, which is
then cut at several numbers of superpixels: another cut does not grow the tree anew.
Then the same is done to the pixels of handwritten digits, as features of a classifier.
Error, size and accuracy say what it costs. A good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `model`, trees, cuts, and features;
3. `coding`, a painted image as bytes, and `scores`, what is lost;
4. `report`, what the user gets to see; `data`, the images.

`const` holds every hyper-parameter, each with its reason.
"""
