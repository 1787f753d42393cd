"""A worker's staff: its parts, each made, made known to those that need it, and told of another configuration."""

import resource

from pgmux.config import Config
from pgmux.relay.relay import Relay
from pgmux.session.keyring import Keyring
from pgmux.session.refusals import Refusal
from pgmux.shm.answers import Answers
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.pools import Pools
from pgmux.worker.bailiff import Bailiff
from pgmux.worker.canceller import Canceller
from pgmux.worker.connecting import Connector
from pgmux.worker.entrance import open_doors
from pgmux.worker.informant import Informant
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.journal import Journal, open_log
from pgmux.worker.listening import Listening
from pgmux.worker.moving import Moving
from pgmux.worker.office import Levers, Office
from pgmux.worker.opener import Opener
from pgmux.worker.reception import Reception
from pgmux.worker.replication import Replication
from pgmux.worker.tenants import Tenants
from pgmux.worker.timekeeper import Timekeeper
from pgmux.worker.tls import open_tls, server_tls_differs
from pgmux.worker.usher import Usher

SAMPLES_A_TICK = 5  # of long waits and slow queries that are logged


class Staff:
    """All parts of one worker. Raises PgmuxError where a file of the configuration cannot be used."""

    def __init__(self, number: int, config: Config, estate: Inheritance) -> None:
        self.number = number
        self.config = config  # the one that is in force here
        self.estate = estate
        secrets, doors = open_doors(config, estate.mock_key)
        self.tls = open_tls(config, estate.ticket_keys)
        self.keyring = Keyring(secrets)
        self.journal = Journal(f"worker {number}")
        self.pools = Pools(estate.segment, estate.bells)
        self._records, self._counters = Clients(estate.segment), CounterTable(estate.segment)
        self.tenants = Tenants(config, self.pools)
        self._hire_for_backends()
        self.moving = Moving(number, self.pools, self._records, estate.mailboxes, estate.landings)
        self.informant = Informant(number, config, Answers(estate.segment, self.pools.workers))
        self.reception = Reception(
            config,
            doors,
            self.keyring,
            self.pools,
            self.tenants,
            self.journal,
            tls=self.tls.clients,
            want_backend=self.opener.look,
            cancel=self.canceller.request,
            want_own_backend=self.replication.begin,
            informant=self.informant,
        )
        self.relay = Relay(
            number,
            self.pools,
            self._records,
            self._counters,
            estate.listeners_of(number),
            self.reception,
            estate.mock_key,
        )
        self._configure_relay()
        self._hire_for_the_operator()
        self.reception.attend(self.relay)
        self.usher = Usher(self.relay, self.reception, self.office.figures, self.journal)
        self.timekeeper = Timekeeper(config, self.reception, self.canceller, self.usher)
        self._introduce()
        self._set_log()

    def _hire_for_backends(self) -> None:
        """Those that connect to PostgreSQL."""
        number, config, estate, pools = self.number, self.config, self.estate, self.pools
        self.connector = Connector(config, self.keyring, self.tls.server)
        self.opener = Opener(number, config, self.connector, pools, self._counters, estate.mailboxes)
        self.canceller = Canceller(
            number, self.connector, pools, estate.mailboxes, self._counters, self.journal
        )
        self.listening = Listening(
            number, config, self.connector, pools, self._counters, estate.ear_mailboxes
        )
        self.replication = Replication(
            number, config, self.connector, pools, self._counters, estate.mailboxes[-1]
        )

    def _hire_for_the_operator(self) -> None:
        """Those that do what he says, and tell him how things are."""
        self.bailiff = Bailiff(self.number, self.pools, self.estate.mailboxes)
        self.office = Office(
            self.estate,
            self.pools,
            self._records,
            Levers(self.number, self.estate.mailboxes, self.bailiff.send_off),
            self.journal,
            config=lambda: self.config,
            users=lambda: self.keyring.users,
        )

    def _introduce(self) -> None:
        """Make known to each part those that it needs."""
        self._at_work = (
            self.opener,
            self.canceller,
            self.listening,
            self.replication,
            self.informant,
            self.moving,
        )
        for part in self._at_work:
            part.relay = self.relay
            part.tenants = self.tenants
        for caller in (self.opener, self.canceller, self.replication, self.informant, self.office.consoles):
            caller.reception = self.reception
        for other in (self.tenants, self.timekeeper, self.bailiff):
            other.relay = self.relay
        self.office.consoles.relay = self.relay
        for visited in (self.reception, self.canceller, self.bailiff):
            visited.consoles = self.office.consoles

    @property
    def is_at_work(self) -> bool:
        """Whether some greenlet does more than wait for the next tick."""
        return self.office.workload.is_at_work or any(part.is_at_work for part in self._at_work)

    def reconfigure(self, config: Config) -> None:
        """Go by another configuration. Raises PgmuxError, and then goes by the one before."""
        secrets, doors = open_doors(config, self.estate.mock_key)
        tls = open_tls(config, self.estate.ticket_keys)
        is_tls_another = server_tls_differs(self.config, config)
        self.config, self.tls = config, tls
        self._set_log()
        self._configure_relay()
        self.keyring.reconfigure(secrets)
        self.tenants.reconfigure(config)
        self.reception.reconfigure(config, doors, tls.clients)
        self.connector.reconfigure(config, tls.server, is_tls_another=is_tls_another)
        if is_tls_another:  # by every worker, for each may have opened one by the old settings until now
            self.pools.renewal.expire()
        self.opener.reconfigure(config)
        self.informant.reconfigure(config)
        self.listening.reconfigure(config)
        self.replication.reconfigure(config)
        self.timekeeper.reconfigure(config)
        if self.number == 0:
            self.tenants.register_warm_pools()

    def _configure_relay(self) -> None:
        settings = self.config.pgmux
        self.relay.reset_query = settings.server_reset_query.encode("utf-8", "surrogateescape")
        self.relay.defers_begin = settings.deferred_begin
        self.relay.roams = settings.roam
        self.relay.audit_interval_us = int(settings.audit_interval * 1_000_000)
        self.relay.reserves_for_us = int(settings.last_value_reserve * 1_000_000)
        files = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.relay.no_room = Refusal.CLIENT_LIMIT.build(limit="the limit of open files", value=files)

    def _set_log(self) -> None:
        settings = self.config.pgmux
        self.journal.formatter = open_log(settings.log_level, settings.log_format)
        is_told = settings.log_level in ("debug", "info")  # else nothing is looked up for such lines
        self.relay.tells_arrivals = settings.log_connections and is_told
        self.relay.tells_partings = settings.log_disconnections and is_told
        self.journal.logs_arrivals = self.relay.tells_arrivals
        self.journal.logs_departures = self.relay.tells_partings
        self.relay.log_wait_us = int(settings.log_min_wait * 1_000_000)
        self.relay.log_query_us = int(settings.log_min_duration * 1_000_000)
        self.relay.samples_left = SAMPLES_A_TICK
