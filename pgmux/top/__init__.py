"""`pgmux top`: a live view of a running pgmux, read from its shared segment."""
