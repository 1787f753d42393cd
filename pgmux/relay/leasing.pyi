"""Who has which backend: acquire, park, settle, hand on, retire."""

from typing import Any

from pgmux.relay.poller import Poller
from pgmux.shm.clients import Clients
from pgmux.shm.pools import Pools

class Leasing(Poller):
    """This worker's hold on the shared backends. The bytes are Exchange's affair."""

    moves_out: bool  # all clients are to go to other workers: idle ones are not read, but told of
    roams: bool  # for tests: a client's next lease is another backend's, if there is one
    log_wait_us: int
    log_query_us: int
    samples_left: int
    samples_missed: int
    @property
    def worker(self) -> int: ...
    @property
    def pools(self) -> Pools: ...
    @property
    def records(self) -> Clients: ...
    @property
    def news(self) -> list[tuple[str, Any]]: ...
