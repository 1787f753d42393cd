"""PostgreSQL's protocol: bytes in, bytes and verdicts out. No socket, no clock, no shared memory."""
