"""The relay's epoll: the only one of pgmux, nested in gevent's."""

class Poller:
    """An epoll instance and the events of its last wait."""

    def __init__(self) -> None: ...
    is_alone: bool
    @property
    def epoll(self) -> int: ...
