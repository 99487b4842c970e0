"""Learn from a messy table: the ``cachekit run tables`` example.

Misspelt departments, job titles in free text, dates in several formats, numbers with
units, gaps: skrub's `TableVectorizer` and a little tidying before it, with gradient
boosting and with a ridge, are compared to what one would do in haste: take each text
for a category, or leave the texts out. The table is simulated, so that the best score
possible is known; or it is one of yours:

    cachekit run tables --csv survey.csv --target income

Out come a table on the terminal, ``tables_scores.csv``, ``tables_predictions.csv`` and
two figures. A good order to read it in:

1. `__main__`, the pipeline on one screen, and its command;
2. `employees`, a simulated table, and `data`, how one is read and checked;
3. `tidy`, texts that are numbers or dates;
4. `recipes`, what is compared, and `model`, how it is judged;
5. `report`, what the user gets to see.

`const` holds every hyper-parameter, each with its reason and range.
"""
