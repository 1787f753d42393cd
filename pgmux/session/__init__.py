"""What pgmux must know of a client and of its own log-ins: policy, without I/O and without a clock."""
