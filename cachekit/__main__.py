"""``python -m cachekit`` is the ``cachekit`` command."""

from cachekit.cli import main

if __name__ == "__main__":
    main()
