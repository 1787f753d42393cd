"""The side-by-side measurements behind `make bench`: poolers in front of a PostgreSQL that answers at once.

`python -m loadtest --help` says how to run them, README.md how to read them.
"""
