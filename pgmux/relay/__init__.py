"""The relay: the data path, compiled, and the one epoll."""
