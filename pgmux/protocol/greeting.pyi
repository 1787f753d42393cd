"""What a client is sent at the end of its log-in, in one piece."""
