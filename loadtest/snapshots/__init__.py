"""Claim 6's instruments: the lease table and a model of PostgreSQL's ProcArray, raced by real processes and simulated.

`race.pyx` is compiled at its first use; `python -m loadtest.claims 6` runs it.
"""
