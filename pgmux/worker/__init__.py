"""A worker process: the one place of gevent."""
