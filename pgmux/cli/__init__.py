"""The command `pgmux`: what a user types, and what it prints."""
