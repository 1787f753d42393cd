"""A worker's tenants: what it knows of each pool it has had to do with, by the configuration and from the segment.

A pool's record is given to another (database, user) once nobody uses it (shm/tenancies.pyx), which any worker may
do at any time. So what is known here is kept with the tenancy it was learnt in, and looked at again when asked for.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from pgmux import __version__
from pgmux.config import Config, PoolSettings
from pgmux.config.configuration import ANY_DATABASE
from pgmux.config.notations import OnPin
from pgmux.protocol.messages import decode_text
from pgmux.session.modes import NAMES as MODES
from pgmux.session.modes import PoolMode
from pgmux.session.welcome import Welcome
from pgmux.shm.pools import Pools
from pgmux.shm.tenancies import PoolsExhausted

if TYPE_CHECKING:
    from pgmux.relay.relay import Relay

PIN_POLICIES: Final = get_args(OnPin)  # by their numbers in the relay (PinPolicy)


def names_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """A pool's database and user. They are a stranger's bytes: any but zero, cut at 63."""
    return (
        record["database"].decode("utf-8", "surrogateescape"),
        record["user"].decode("utf-8", "surrogateescape"),
    )


@dataclass(slots=True)
class Tenant:
    """What this worker knows of a pool, for as long as it belongs to the same (database, user)."""

    tenancy: int
    settings: PoolSettings
    welcomes: dict[PoolMode, Welcome] = field(default_factory=dict)  # all or none


class Tenants:
    """All that one worker knows of."""

    def __init__(self, config: Config, pools: Pools) -> None:
        self.relay: Relay
        self._config = config
        self._pools = pools
        self._known: dict[int, Tenant] = {}  # by pool; ask `find`, which looks whether it still is

    def find(self, pool: int) -> Tenant:
        """Whose pool it is now, and what we know of him. Raises KeyError, as `settings`."""
        known = self._known.get(pool)
        if known is None or known.tenancy != self._pools.tenancies.tenancy(pool):
            found = self._pools.tenancies.names(pool)
            if found is None:
                raise KeyError(pool)
            tenancy, *names = found
            known = Tenant(tenancy, self._config.settings_of_pool(*map(decode_text, names)))
            self._known[pool] = known
            self._set_limits(pool)
        return known

    def settings(self, pool: int) -> PoolSettings:
        """The configuration of a pool, also of one that another worker was the first to use.

        They are certain to be the pool's while a client of this worker, or a backend, is in it. Raises
        KeyError for one whose database a reload has taken away.
        """
        return self.find(pool).settings

    def is_unheard_of(self, pool: int) -> bool:
        """Whether no backend of this pool was ever opened, as far as this worker knows."""
        return not self.find(pool).welcomes

    def server(self, pool: int) -> str:
        """PostgreSQL's address for a pool, as people write it."""
        settings = self.settings(pool)
        return f"{','.join(settings.hosts)}:{settings.port}"

    def pools_in_use(self) -> list[int]:
        """The pools that this worker's clients use, or wait to."""
        tenancy = self._pools.tenancies.tenancy
        return [pool for pool, tenant in self._known.items() if tenant.tenancy == tenancy(pool)]

    def place(self, settings: PoolSettings) -> tuple[int, int]:
        """(pool, tenancy) of these settings' database and user. Raises PoolsExhausted."""
        database = settings.database.encode("utf-8", "surrogateescape")
        user = settings.server_user.encode("utf-8", "surrogateescape")
        pool, tenancy = self._pools.tenancies.place(database, user, settings.pool_size, settings.max_backends)
        known = self._known.get(pool)
        if known is None or known.tenancy != tenancy:
            self._known[pool] = Tenant(tenancy, settings)
            self._set_limits(pool)
        return pool, tenancy

    def place_of_own(self, database: str, user: str) -> tuple[int, int]:
        """(pool, tenancy) of a user of pgmux's own, not of the one that the database may force on clients.

        Raises PoolsExhausted, KeyError for a database that is not declared.
        """
        return self.place(self._config.settings_of_pool(database, user))

    def register_warm_pools(self) -> None:
        """Make known the pools that are kept warm though no client has come: those whose user is configured."""
        for name, database in self._config.databases.items():
            if name != ANY_DATABASE and database.user:
                settings = self._config.pool_settings(name, database.user)
                if settings.min_pool_size:
                    with suppress(PoolsExhausted):
                        self.place(settings)

    def learn_welcome(self, pool: int) -> bool:
        """Whether some worker has opened a backend of this pool; its parameters lie in shared memory."""
        kept = self._pools.tidings.welcome(pool)
        if kept is None:
            return False
        words = kept.decode("utf-8", "surrogateescape").split("\0")
        parameters = dict(zip(words[0::2], words[1::2], strict=False))
        for mode in MODES.values():
            own = {
                "pgmux.version": __version__,
                "pgmux.pool_mode": mode.name.lower(),
                "pgmux.max_prepared_statements": str(self._config.pgmux.max_prepared_statements),
            }
            self.find(pool).welcomes[mode] = Welcome(parameters, own)
        return True

    def vacate(self, dbname: str) -> None:
        """A client is about to take PostgreSQL's database away, or to rename it: that succeeds when nobody is
        connected to it, for which PostgreSQL waits some seconds. Backends in it that are idle are closed."""
        declared = self._config.databases
        for row in self._pools.board.rows():
            name = row["name"].decode("utf-8", "surrogateescape")
            database = declared.get(name, declared.get(ANY_DATABASE))
            if database is not None and (database.dbname or name) == dbname:
                self._pools.renewal.reconnect(row["database"])

    def reconfigure(self, config: Config) -> None:
        """After a reload: what pools are to be."""
        self._config = config
        tenancy = self._pools.tenancies.tenancy
        for pool, tenant in self._known.items():
            database, user = tenant.settings.database, tenant.settings.server_user
            with suppress(KeyError):  # its database is gone: who is in goes on as before
                settings, tenant.settings = tenant.settings, config.settings_of_pool(database, user)
                # By every worker, for each may have opened one by the old settings until now.
                if not tenant.settings.leads_where(settings) and tenant.tenancy == tenancy(pool):
                    self._pools.renewal.outdate(pool)
            self._set_limits(pool)

    def _set_limits(self, pool: int) -> None:
        lobby = self.relay.lobby(pool)
        lobby.wait_limit_us = int(self._config.pgmux.query_wait_timeout * 1_000_000)
        with suppress(KeyError):  # a reload took its database away
            lobby.login_user = self.settings(pool).server_user
            lobby.least = self.settings(pool).min_pool_size
            lobby.on_pin = PIN_POLICIES.index(self.settings(pool).on_pin)
            lobby.most_pinned = self.settings(pool).most_pinned
