"""The seven claims of the field, each measured here: `python -m loadtest.claims 3`, a table and a plot.

One module is one claim. What was measured is written to loadtest/results/claims, from where docs/performance.md has its
tables; the plots go to docs/claims.
"""
