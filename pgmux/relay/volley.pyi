"""A volley: the short sends of one batch of events, made by one system call."""

class Volley:
    """The shots of the present batch."""

    def __init__(self) -> None: ...
    @property
    def is_possible(self) -> bool: ...
