"""What cachekit costs, beside joblib, diskcache, cachier and what the machine can do.

From the root of the project, with everything to compare with::

    python -m pip install -e ".[bench]"
    python -m benchmarks [--quick] [--only TOPIC ...] [--output FOLDER]

`timing` calls functions in turns, `rows` has what comes out, and each topic is a module
that yields cases: `imports`, `hashing`, `calls`, `persistence`, `parallel`, `entries`,
`growth`. `table`, `figures` and `page` show the rows; `__main__` puts it together.
"""
