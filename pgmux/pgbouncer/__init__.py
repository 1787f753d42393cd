"""PgBouncer's configuration, read and turned into pgmux's."""
