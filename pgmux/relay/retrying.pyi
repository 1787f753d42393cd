"""A prepared statement that is out of date: "cached plan must not change result type"."""

from pgmux.relay.naming import Naming

class Retrying(Naming):
    """What is asked twice, so that the client need not."""
