"""The shared segment: what all processes of one pgmux know, and the one place of atomics."""
