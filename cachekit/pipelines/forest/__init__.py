"""Choose a classifier for handwritten digits: the ``cachekit run forest`` example.

Random forests, gradient boosting and support vector machines, each with a grid of
settings, are compared by cross-validation; the best one is then judged, once, on
images that no part of the choice has seen. Each point of the grid is a cached call
for each fold, so that a value more in the grid costs that value only. Out come a
table on the terminal, ``forest_grid.csv``, ``forest_learning.csv`` and three figures.

    cachekit run forest --set "SVM_PENALTIES=(1, 10, 100)" --output digits

A good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `data`, the images, what is held out, and the folds;
3. `grid`, the candidates, and `model`, what they are judged by, and the choice;
4. `report`, what the user gets to see.

`const` holds every hyper-parameter, each with its reason and range.
"""
