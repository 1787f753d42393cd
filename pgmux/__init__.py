"""pgmux: a multi-process PostgreSQL connection pooler, many workers over one exact pool."""

# Written here and read by the build: to look up an installed package's version loads two megabytes.
__version__ = "0.1.0"
