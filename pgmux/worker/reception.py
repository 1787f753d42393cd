"""The reception: where a worker's clients log in, and what they are told that PostgreSQL does not say.

The relay reads what a client sends and hands it to `hear`; the log-in itself is the sans-IO
machine of session/client_login.py. A client that has shown who it is waits in the lobby of its
pool until the pool's welcome is known, which the first backend of that pool brings.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgmux import __version__
from pgmux.config import Config, PoolSettings
from pgmux.config.configuration import ANY_DATABASE
from pgmux.control.commands import Right
from pgmux.control.console import greeting_parameters
from pgmux.control.figures import CONSOLE_POOLS, Clock, shown
from pgmux.protocol.messages import parse_error_fields
from pgmux.session.client_login import ClientLogin, Step
from pgmux.session.doors import OWNERS, VIRTUAL_DATABASES, Doors
from pgmux.session.modes import NAMES as MODES
from pgmux.session.modes import PoolMode
from pgmux.session.refusals import Refusal
from pgmux.session.settings import settings_of
from pgmux.session.welcome import Welcome
from pgmux.shm.pools import Pools, PoolsExhausted
from pgmux.worker.consoles import Consoles
from pgmux.worker.journal import Journal, Passenger

if TYPE_CHECKING:
    from pgmux.relay.endpoint import Client
    from pgmux.relay.relay import Relay

_KEY_BYTES = 4  # of a cancel key before protocol 3.2
_LONG_KEY_BYTES = 32  # from 3.2 on: as PostgreSQL 18 gives
_CONSOLE_NUMBERS = {name: number for number, name in CONSOLE_POOLS.items()}


def names_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """A pool's database and user. They are a stranger's bytes: any but zero, cut at 63."""
    return (
        record["database"].decode("utf-8", "surrogateescape"),
        record["user"].decode("utf-8", "surrogateescape"),
    )


class Reception:
    """One worker's reception, the relay's `desk`."""

    def __init__(
        self,
        config: Config,
        doors: Doors,
        pools: Pools,
        journal: Journal,
        *,
        want_backend: Callable[[int], None],
        cancel: Callable[[int, bytes], None],
        want_own_backend: "Callable[[Client, ClientLogin, int], None]",
    ) -> None:
        """`want_backend(pool)`: a client waits for its first backend. `cancel(pid, key)`: a CancelRequest.
        `want_own_backend(client, login, pool)`: a replication client waits for its own."""
        self.relay: Relay
        self.consoles: Consoles
        self.doors = doors
        self._config = config
        self._pools = pools
        self._journal = journal
        self._want_backend = want_backend
        self._cancel = cancel
        self._want_own_backend = want_own_backend
        self._numbers: dict[tuple[str, str], int] = {}  # (database, PostgreSQL's user): pool
        self._settings: dict[int, PoolSettings] = {}
        self._welcomes: dict[tuple[int, PoolMode], Welcome] = {}
        self._expecting: defaultdict[int, list[Client]] = defaultdict(list)  # authenticated, by pool

    # --- called by the relay, inside its loop

    def greet(self, client: "Client") -> None:
        """A connection was accepted."""
        client.login = ClientLogin(self.doors, is_owner=lambda: client.peer_uid() in (0, os.geteuid()))

    def hear(self, client: "Client", data: bytes) -> None:
        """A client that logs in has sent something."""
        login: ClientLogin = client.login
        login.feed(data)
        if login.step is Step.CANCEL:
            assert login.cancel_request is not None
            self._cancel(*login.cancel_request)
            self.relay.send_off(client)
        elif login.step is Step.REFUSED:
            self._note_refusal(client, login)
            self.relay.send_off(client, login.take_outgoing())
        elif (
            login.user
            and client.record >= self._pools.segment.client_limit
            and login.database not in VIRTUAL_DATABASES  # the operator gets in when all is full
        ):
            limit = self._pools.segment.client_limit
            self._refuse(client, Refusal.CLIENT_LIMIT, limit="max_client_conn", value=str(limit))
        elif login.step is Step.AUTHENTICATED and login.database in VIRTUAL_DATABASES:
            self._open_console(client, login)
        elif login.step is Step.AUTHENTICATED:
            self._receive(client, login)
        elif outgoing := login.take_outgoing():
            self.relay.say(client, outgoing)

    def malformed(self, kind: str) -> bytes:
        """What a client is told whose message cannot be understood."""
        return Refusal.MALFORMED.build(problem=f"invalid frontend message type {ord(kind)} or length")

    def backend_lost(self) -> bytes:
        """What a client is told whose backend died without a word."""
        return Refusal.BACKEND_DIED.build()

    def no_transactions(self) -> bytes:
        """What a client is told that begins a transaction where its pool mode allows none."""
        return Refusal.NO_TRANSACTIONS.build()

    def in_failed_transaction(self) -> bytes:
        """What a client is told whose transaction got no backend, until it ends it."""
        return Refusal.TRANSACTION_FAILED.build()

    def settings_refused(self, error: bytes) -> bytes:
        """What a client is told whose settings PostgreSQL has answered with `error`, an ErrorResponse."""
        fields = parse_error_fields(error[5:])
        return Refusal.SETTINGS_REFUSED.build(
            fields.get("detail"), sqlstate=fields.get("sqlstate", ""), problem=fields.get("message", "")
        )

    def overrun(self, limit_bytes: int) -> bytes:
        """What a client is told for whom more notifications waited than are kept."""
        return Refusal.NOTIFICATIONS_OVERRUN.build(limit=f"{limit_bytes >> 20} MB")

    def arrived(self, client: "Client") -> None:
        """A client has logged in."""
        if self._journal.logs_arrivals:
            self._journal.arrived(self.passenger(client.record))

    def parted(self, client: "Client") -> None:
        """A client is gone."""
        if client.login is not None or not self._journal.logs_departures:
            return  # it had not logged in: of refusals the log knows already
        row = self.relay.records.read(client.record)
        if row is not None:
            seconds = Clock().since(row["connected_at_us"]) / 1_000_000
            self._journal.left(self.passenger(client.record), _reason_of_parting(client), seconds)

    # --- called by the worker

    def passenger(self, record: int) -> Passenger:
        """Who a client is that has logged in, for the log."""
        row = self.relay.records.read(record)
        assert row is not None
        database = CONSOLE_POOLS.get(row["pool"]) or self.settings(row["pool"]).database
        address = f"{shown(row['address'])}:{row['port']}" if row["port"] else shown(row["address"])
        return Passenger(row["number"], address, shown(row["user"]), database, shown(row["application_name"]))

    def reconfigure(self, config: Config, doors: Doors) -> None:
        """After a reload: log-ins from now on, and what pools are to be."""
        self._config, self.doors = config, doors
        for pool, settings in list(self._settings.items()):
            with suppress(KeyError):  # its database is gone: who is in goes on as before
                self._settings[pool] = config.pool_settings(settings.database, settings.server_user)
                # By every worker, for each may have opened one by the old settings until now.
                if not self._settings[pool].leads_where(settings):
                    self._pools.outdate(pool)
        for pool in self._numbers.values():
            self._set_wait_limit(pool)

    def settings(self, pool: int) -> PoolSettings:
        """The configuration of a pool, also of one that another worker registered.

        Raises KeyError for one whose database a reload has taken away.
        """
        if pool not in self._settings:
            record = self._pools.read(pool)
            assert record is not None
            self._settings[pool] = self._config.pool_settings(*names_of(record))
        return self._settings[pool]

    def waiting(self, pool: int) -> int:
        """How many clients wait for the pool's welcome."""
        return len(self._expecting.get(pool, ()))

    def register_warm_pools(self) -> None:
        """Make known the pools that are kept warm though no client has come: those whose user is configured."""
        for name, database in self._config.databases.items():
            if name != ANY_DATABASE and database.user:
                settings = self._config.pool_settings(name, database.user)
                if settings.min_pool_size:
                    with suppress(PoolsExhausted):
                        self._pool_of(name, database.user)

    def pools_in_use(self) -> list[int]:
        """The pools that this worker's clients use, or wait to."""
        return list(self._numbers.values())

    def admit_the_welcome(self) -> None:
        """A backend was opened, here or in another worker: let in who waits for their pool's first."""
        for pool in [pool for pool in self._expecting if self._learn_welcome(pool)]:
            for client in self._expecting.pop(pool):
                if client.login is not None:
                    self._admit(client, client.login, pool)

    def admit_with(
        self, client: "Client", login: ClientLogin, slot: int, parameters: Mapping[str, str]
    ) -> None:
        """Let in a client with the backend that was opened for it alone, and reported these parameters."""
        secret = _make_key(login)
        application = login.settings.get("application_name", "")
        login.settings = {}  # the backend was started with them, and has told what it made of them
        own = {"pgmux.version": __version__, "pgmux.pool_mode": "session"}
        welcome = Welcome(parameters, own, keeps_name=True)
        greeting = login.admit(welcome, client.record + 1, secret)
        self.relay.records.name_user(client.record, login.user.encode("utf-8", "surrogateescape"))
        self.relay.admit_private(client, slot, secret, application, greeting, login.rest)

    def refuse(self, client: "Client", refusal: Refusal, detail: str | None = None, **values: str) -> None:
        """Turn away a client that waits for its own backend, unless it has left."""
        if client.login is not None:
            self._refuse(client, refusal, detail, **values)

    def turn_away_waiting(self, pool: int, detail: str) -> None:
        """No backend can be opened: tell those who wait for the first one why."""
        for client in self._expecting.pop(pool, ()):
            if client.login is not None:
                self._refuse(client, Refusal.NO_POSTGRESQL, detail, server=self.server(pool))

    def close_for_lateness(self, client: "Client") -> None:
        """A log-in has taken longer than client_login_timeout."""
        self._refuse(client, Refusal.LOGIN_TIMEOUT, timeout=f"{self._config.pgmux.client_login_timeout:g}s")

    def server(self, pool: int) -> str:
        """PostgreSQL's address for a pool, as people write it."""
        settings = self.settings(pool)
        return f"{settings.host}:{settings.port}"

    # --- steps of a log-in

    def _refuse(self, client: "Client", refusal: Refusal, detail: str | None = None, **values: str) -> None:
        login: ClientLogin = client.login
        last_words = login.refuse(refusal, detail, **values)
        self._note_refusal(client, login)
        self.relay.send_off(client, last_words)

    def _note_refusal(self, client: "Client", login: ClientLogin) -> None:
        host, port = client.address()
        number = self.relay.records.number_of(client.record)
        self._journal.refused(number, f"{host}:{port}" if port else host, login)

    def _open_console(self, client: "Client", login: ClientLogin) -> None:
        """The client wants the console: if it may, it leaves the relay for a greenlet."""
        right = self._right_of(client, login)
        if right is Right.NONE:
            self._refuse(client, Refusal.NO_CONSOLE, user=login.user)
            return
        record, records, secret = client.record, self.relay.records, _make_key(login)
        host, port = client.address()
        own = {"pgmux.version": __version__}
        welcome = Welcome(greeting_parameters(login.database), own, promised={"application_name"})
        greeting = login.admit(welcome, record + 1, secret)
        application = login.settings.get("application_name", "").encode("utf-8", "replace")
        fd, unsent = self.relay.hand_over(client)
        records.name_user(record, login.user.encode("utf-8", "surrogateescape"))
        number = _CONSOLE_NUMBERS[login.database]
        records.admit(record, secret, number, host.encode(), port, application)
        self.consoles.open(record, fd, right, unsent + greeting, login.rest, self.passenger(record))

    def _right_of(self, client: "Client", login: ClientLogin) -> Right:
        settings = self._config.pgmux
        if login.user in settings.admin_users:
            return Right.ADMIN
        if login.user in OWNERS and client.peer_uid() in (0, os.geteuid()):
            return Right.ADMIN
        return Right.STATS if login.user in settings.stats_users else Right.NONE

    def _receive(self, client: "Client", login: ClientLogin) -> None:
        """The client is who it says: find its pool, and the pool's welcome."""
        if self._is_disabled(login.database):
            self._refuse(client, Refusal.DATABASE_DISABLED, database=login.database)
            return
        try:
            pool = self._pool_of(login.database, login.user)
        except PoolsExhausted:
            self._refuse(
                client, Refusal.POOL_LIMIT, limit="max_pools", value=str(self._config.pgmux.max_pools)
            )
            return
        if login.is_replication:
            self.relay.keep_waiting(client, login.take_outgoing())
            self._want_own_backend(client, login, pool)
        elif (pool, PoolMode.TRANSACTION) in self._welcomes or self._learn_welcome(pool):
            self._admit(client, login, pool)
        else:
            self.relay.keep_waiting(client, login.take_outgoing())
            self._expecting[pool].append(client)
            self._want_backend(pool)

    def _pool_of(self, database: str, user: str) -> int:
        settings = self._config.pool_settings(database, user)
        number = self._numbers.get((database, settings.server_user))
        if number is None:
            number = self._pools.register(
                database.encode("utf-8", "surrogateescape"),
                settings.server_user.encode("utf-8", "surrogateescape"),
                settings.pool_size,
                settings.max_backends,
            )
            self._numbers[database, settings.server_user] = number
            self._settings[number] = settings
            self._set_wait_limit(number)
        return number

    def _is_disabled(self, database: str) -> bool:
        """Whether the operator lets no new clients in to a database."""
        board = self._pools.board
        record = board.find(database.encode("utf-8", "surrogateescape"))
        row = board.read(record) if record is not None else None
        return row is not None and row["is_disabled"]

    def _set_wait_limit(self, pool: int) -> None:
        lobby = self.relay.lobby(pool)
        lobby.wait_limit_us = int(self._config.pgmux.query_wait_timeout * 1_000_000)
        with suppress(KeyError):  # a reload took its database away
            lobby.login_user = self.settings(pool).server_user
            lobby.least = self.settings(pool).min_pool_size

    def _learn_welcome(self, pool: int) -> bool:
        """Whether some worker has opened a backend of this pool; its parameters lie in shared memory."""
        kept = self._pools.welcome(pool)
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
            self._welcomes[pool, mode] = Welcome(parameters, own)
        return True

    def _admit(self, client: "Client", login: ClientLogin, pool: int) -> None:
        secret = _make_key(login)
        mode = MODES[self._config.pool_mode(login.database, login.user)]
        welcome = self._welcomes[pool, mode]
        for ignored in self._config.pgmux.ignore_startup_parameters:
            login.settings.pop(ignored.lower(), None)
        greeting = login.admit(welcome, client.record + 1, secret)
        application = login.settings.get("application_name", "")
        self.relay.records.name_user(client.record, login.user.encode("utf-8", "surrogateescape"))
        differing, unsure = welcome.find_differing(login.settings)
        self.relay.admit(
            client,
            pool,
            secret,
            application,
            greeting,
            login.rest,
            mode,
            settings_of(differing),
            unsure,
        )


def _make_key(login: ClientLogin) -> bytes:
    """A cancel key for a client, as long as its protocol allows."""
    return os.urandom(_LONG_KEY_BYTES if login.protocol_version >= (3, 2) else _KEY_BYTES)


def _reason_of_parting(client: "Client") -> str:
    """Why a client that had logged in is gone."""
    if client.last_words:
        fields = parse_error_fields(client.last_words[5:])
        return f"{fields['sqlstate']}: {fields['message']}"
    if client.terminated:
        return "client left"
    if client.last_words is not None:
        return "PostgreSQL has ended its backend"
    return "connection lost"
