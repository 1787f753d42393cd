"""The demo: pgmux in front of a throw-away PostgreSQL, which the tests use too."""
