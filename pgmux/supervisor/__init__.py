"""The supervisor: the one place of fork."""
