"""The reception: where a worker's clients log in, and what they are told that PostgreSQL does not say.

The relay reads what a client sends and hands it to the log-in's sans-IO machine (session/client_login.pyx);
what that cannot decide comes to `hear`. A client that has shown who it is waits in the lobby of its
pool until the pool's welcome is known, which the first backend of that pool brings.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pgmux import __version__
from pgmux.config import Config, PoolSettings
from pgmux.control.clock import Clock
from pgmux.control.figures import CONSOLE_POOLS
from pgmux.control.spelling import shown
from pgmux.protocol.messages import parse_error_fields
from pgmux.relay.endpoint import Greeting
from pgmux.relay.tls_context import TlsContext
from pgmux.session.client_login import ClientLogin, Step
from pgmux.session.doors import Doors
from pgmux.session.inquiry import name_pins
from pgmux.session.keyring import Keyring
from pgmux.session.modes import NAMES as MODES
from pgmux.session.modes import PoolMode
from pgmux.session.notices import Notice
from pgmux.session.refusals import Refusal, explain_trouble
from pgmux.session.settings import settings_of
from pgmux.session.welcome import Welcome
from pgmux.shm.pools import Pools
from pgmux.shm.tenancies import PoolsExhausted
from pgmux.worker.consoles import Consoles
from pgmux.worker.informant import Informant
from pgmux.worker.journal import Journal, Passenger, spell_address
from pgmux.worker.tenants import Tenants

if TYPE_CHECKING:
    from pgmux.relay.endpoint import Client
    from pgmux.relay.relay import Relay

_MOST_KNOWN = 10_000


class Reception:
    """One worker's reception, the relay's `desk`."""

    def __init__(
        self,
        config: Config,
        doors: Doors,
        keyring: Keyring,
        pools: Pools,
        tenants: Tenants,
        journal: Journal,
        *,
        tls: TlsContext | None,
        want_backend: Callable[[int], None],
        cancel: "Callable[[Client, int, bytes], None]",
        want_own_backend: "Callable[[Client, ClientLogin, int], None]",
        informant: Informant,
    ) -> None:
        """`tls`: for clients that ask for it. `want_backend(pool)`: a client waits for its first backend.
        `want_own_backend(client, login, pool)`: a replication client waits for its own. `cancel(client,
        pid, key)`: a CancelRequest.
        """
        self.relay: Relay
        self.consoles: Consoles
        self._doors = doors
        self._config = config
        self._tls = tls
        self._keyring = keyring
        self._pools = pools
        self._tenants = tenants
        self._journal = journal
        self._want_backend = want_backend
        self._cancel = cancel
        self._want_own_backend = want_own_backend
        self._informant = informant
        self._known: dict[tuple[str, str], tuple[int, int]] = {}  # (database, client's user): (pool, tenancy)
        self._expecting: defaultdict[int, list[Client]] = defaultdict(list)  # authenticated, by pool

    # --- called by the relay, inside its loop

    def hear(self, client: "Client") -> None:
        """A client's log-in wants a decision."""
        login = client.login
        assert login is not None
        if login.step is Step.CANCEL:
            assert login.cancel_request is not None
            self._cancel(client, *login.cancel_request)
        elif login.step is Step.REFUSED:
            if login.was_looked_up:
                self._informant.distrust(client)
            if login.reason:  # else it has just left in the middle of its handshake
                self._note_refusal(client, login)
            self.relay.send_off(client, login.take_outgoing())
        elif client.record >= self._pools.segment.client_limit and not _wants_console(login):
            limit = self._pools.segment.client_limit
            self._refuse(client, Refusal.CLIENT_LIMIT, limit="max_client_conn", value=str(limit))
        elif login.step is Step.LOOKUP:
            self._informant.inform(client)
        elif login.step is Step.AUTHENTICATED and _wants_console(login):
            if not self.consoles.admit(client, login):
                self._refuse(client, Refusal.NO_CONSOLE, user=login.user)
        elif login.step is Step.AUTHENTICATED:
            self._receive(client, login)

    def malformed(self, kind: str) -> bytes:
        """What a client is told whose message cannot be understood."""
        return Refusal.MALFORMED.build(problem=f"invalid frontend message type {ord(kind)} or length")

    def backend_lost(self) -> bytes:
        """What a client is told whose backend died without a word."""
        return Refusal.BACKEND_DIED.build()

    def no_transactions(self) -> bytes:
        """What a client is told that begins a transaction where its pool mode allows none."""
        return Refusal.NO_TRANSACTIONS.build()

    def pinned(self, pins: int) -> bytes:
        """What a client is told that keeps its backend from here on, where that is to be noticed."""
        return Notice.PINNED.build(reason=name_pins(pins))

    def pin_refused(self, pins: int, limit: int) -> bytes:
        """What a client is told that may not keep its backend; `limit` of its pool are kept, 0 = none may be."""
        if not limit:
            return Refusal.PIN_REJECTED.build(reason=name_pins(pins))
        return Refusal.TOO_MANY_PINNED.build(reason=name_pins(pins), limit=str(limit))

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
        database = CONSOLE_POOLS.get(row["pool"]) or self._tenants.settings(row["pool"]).database
        address = spell_address(shown(row["address"]), row["port"])
        return Passenger(row["number"], address, shown(row["user"]), database, shown(row["application_name"]))

    def attend(self, relay: "Relay") -> None:
        """Receive the clients of this relay, from now on."""
        self.relay = relay
        relay.doors = self._doors
        relay.tls, relay.tls_mode = self._tls, self._config.pgmux.client_tls_sslmode
        relay.login_limit = self._config.login_limit_of_a_worker

    def reconfigure(self, config: Config, doors: Doors, tls: TlsContext | None) -> None:
        """After a reload: log-ins from now on, and what pools are to be."""
        self._config = config
        self.relay.tls_mode = config.pgmux.client_tls_sslmode
        if tls is not None:  # who came while TLS was offered may still ask for it
            self.relay.tls = tls
        self.relay.doors = self._doors = doors
        self.relay.edition += 1
        self.relay.login_limit = config.login_limit_of_a_worker
        self._known.clear()

    def waiting(self, pool: int) -> int:
        """How many clients wait for the pool's welcome."""
        return len(self._expecting.get(pool, ()))

    def admit_the_welcome(self) -> None:
        """A backend was opened, here or in another worker: let in who waits for their pool's first."""
        for pool in [pool for pool in self._expecting if self._tenants.learn_welcome(pool)]:
            for client in self._expecting.pop(pool):
                if client.login is not None:
                    self._admit(client, client.login, pool)

    def admit_with(
        self, client: "Client", login: ClientLogin, slot: int, parameters: Mapping[str, str]
    ) -> None:
        """Let in a client with the backend that was opened for it alone, and reported these parameters."""
        own = {"pgmux.version": __version__, "pgmux.pool_mode": "session"}
        welcome = Welcome(parameters, own, keeps_name=True)
        pool = self._pools.leases.read(slot)[2]
        greeting = Greeting(
            pool,
            self._pools.tenancies.tenancy(pool),
            login.settings.get("application_name", "").encode("utf-8", "replace"),
            welcome.build({}),  # the backend was started with its settings, and has told what it made of them
            login.credential,
            self.relay.edition,
            PoolMode.SESSION,
        )
        self.relay.admit_private(client, greeting, slot)

    def refuse(self, client: "Client", refusal: Refusal, detail: str | None = None, **values: str) -> None:
        """Turn away a client that waits for its own backend, unless it has left."""
        if client.login is not None:
            self._refuse(client, refusal, detail, **values)

    def turn_away_waiting(self, pool: int, trouble: str) -> None:
        """No backend can be opened: tell those who wait for the first one why."""
        refusal, detail, values = explain_trouble(trouble, self._tenants.server(pool))
        for client in self._expecting.pop(pool, ()):
            if client.login is not None:
                self._refuse(client, refusal, detail, **values)

    def turn_away(self, client: "Client", refusal: Refusal) -> None:
        """A log-in that waits cannot go on. Nothing, where the client has gone meanwhile."""
        if client.login is not None and client.login.step is not Step.REFUSED:
            self._refuse(client, refusal)

    def make_room(self, client: "Client") -> None:
        """Too many are logging in, and this one has let us wait."""
        limit = str(self._config.pgmux.max_login_conn)
        self._refuse(client, Refusal.LOGIN_LIMIT, limit="max_login_conn", value=limit)

    def close_for_lateness(self, client: "Client") -> None:
        """A log-in has taken longer than client_login_timeout."""
        self._refuse(client, Refusal.LOGIN_TIMEOUT, timeout=f"{self._config.pgmux.client_login_timeout:g}s")

    def trouble_of(self, client: "Client") -> bytes | None:
        """What a client is told that has waited long enough because PostgreSQL cannot be used; None = it can."""
        pool = self.relay.pool_of(client)
        trouble = b"" if pool is None else self._pools.tidings.trouble(pool)[0]
        if pool is None or not trouble or self._pools.count(pool)[3]:
            return None
        told = trouble.decode("utf-8", "replace")
        refusal, detail, values = explain_trouble(told, self._tenants.server(pool))
        return refusal.build(detail, severity="ERROR", **values)

    # --- steps of a log-in

    def _refuse(self, client: "Client", refusal: Refusal, detail: str | None = None, **values: str) -> None:
        login = client.login
        assert login is not None
        last_words = login.refuse(refusal, detail, **values)
        self._note_refusal(client, login)
        self.relay.send_off(client, last_words)

    def _note_refusal(self, client: "Client", login: ClientLogin) -> None:
        number = self.relay.records.number_of(client.record)
        self._journal.refused(number, spell_address(*client.address()), login)

    def _receive(self, client: "Client", login: ClientLogin) -> None:
        """The client is who it says: find its pool, and the pool's welcome."""
        self._keyring.keep(login.user, login.credential)
        try:
            pool = self._join(client, login)
        except PoolsExhausted:
            limit = str(self._config.pgmux.max_pools)
            self._refuse(client, Refusal.POOL_LIMIT, limit="max_pools", value=limit)
            return
        if self._pools.is_pool_disabled(pool):
            self._refuse(client, Refusal.DATABASE_DISABLED, database=login.database)
        elif exceeded := self._exceeded(self._tenants.settings(pool)):
            limit, value = exceeded
            self._refuse(client, Refusal.CLIENT_LIMIT, limit=limit, value=str(value))
        elif login.is_replication:
            self.relay.keep_waiting(client)
            self._want_own_backend(client, login, pool)
        elif self._tenants.find(pool).welcomes or self._tenants.learn_welcome(pool):
            self._admit(client, login, pool)
        else:
            self.relay.keep_waiting(client)
            self._expecting[pool].append(client)
            self._want_backend(pool)

    def _exceeded(self, settings: PoolSettings) -> tuple[str, int] | None:
        """Which limit of the database's or the user's clients one more exceeds, and its value.

        Whoever joins is counted first and looks afterwards: of two that come at once both may be turned away, and
        never are there too many.
        """
        limits = (
            ("database", settings.database, settings.database_clients),
            ("user", settings.server_user, settings.user_clients),
        )
        for kind, name, limit in limits:
            if limit and self._pools.tenancies.clients(kind, name.encode("utf-8", "surrogateescape")) > limit:
                return f'max_client_conn of {kind} "{name}"', limit
        return None

    def _join(self, client: "Client", login: ClientLogin) -> int:
        """The client's pool, which is its own from now on. Raises PoolsExhausted."""
        names = login.database, login.user
        place = self._known.get(names)
        while place is None or not self.relay.try_join(client, *place):
            place = self._tenants.place(self._config.pool_settings(*names))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()  # strangers' names: nobody may fill our memory with them
        self._known[names] = place
        return place[0]

    def _admit(self, client: "Client", login: ClientLogin, pool: int) -> None:
        """Let the client in, and whoever introduces himself alike from now on without asking here."""
        ignored = {name.lower() for name in self._config.pgmux.ignore_startup_parameters}
        settings = {name: value for name, value in login.settings.items() if name not in ignored}
        mode = MODES[self._config.pool_mode(login.database, login.user)]
        tenant = self._tenants.find(pool)
        differing, unsure = tenant.welcomes[mode].find_differing(settings)
        greeting = Greeting(
            pool,
            tenant.tenancy,
            settings.get("application_name", "").encode("utf-8", "replace"),
            tenant.welcomes[mode].build(settings),
            login.credential,
            self.relay.edition,
            mode,
            settings_of(differing),
            unsure,
        )
        assert login.introduction is not None
        if not (
            tenant.settings.database_clients or tenant.settings.user_clients
        ):  # else it is asked each time
            login.introduction.greeting = greeting
        self.relay.admit(client, greeting)


def _wants_console(login: ClientLogin) -> bool:
    """Whether it is the operator, who gets in when all is full."""
    return login.introduction is not None and login.introduction.is_console


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
