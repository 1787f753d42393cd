"""What a backend must have prepared when it comes to the next request, and how it comes to have it."""

from pgmux.relay.streams import Streams

class Preparing(Streams):
    """The statements of backends, prepared and closed in between."""
