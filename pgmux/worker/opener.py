"""Opening backends: as many at once as clients wait for, within both limits, in a greenlet each.

A slot is reserved first (OPENING, under the segment's lock, so the limits are exact over all
workers), then PostgreSQL is connected to and logged in to, then the descriptor is sent to the
vault and to every worker, and only then is the slot leased and handed to whoever waits.
Killed anywhere in between, the slot is OPENING with a dead owner: the supervisor fences it.

When a log-in fails, the pool's trouble says why until `server_login_retry` has passed. If the
pool has no backend at all, its clients are told so at once, in every worker.
"""

import logging
import math
import random
import time
from collections import Counter, defaultdict

import gevent
from gevent.pool import Group

from pgmux.config.configuration import Config, PoolSettings
from pgmux.control.clock import Clock
from pgmux.relay.relay import Relay
from pgmux.session.backend_login import BackendLogin
from pgmux.session.refusals import Refusal, explain_trouble
from pgmux.shm.counters import CounterTable
from pgmux.shm.homes import Homes
from pgmux.shm.pools import ALL_FULL, DATABASE_FULL, POOL_FULL, Pools
from pgmux.shm.workers import Errand
from pgmux.worker.begging import BEG_AFTER_SECONDS, beg
from pgmux.worker.channel import Channel
from pgmux.worker.connecting import Connector, OpenError
from pgmux.worker.mailbox import Kind, Mailbox, Message
from pgmux.worker.reception import Reception
from pgmux.worker.tenants import Tenants

_STRANGERS_AT_ONCE = 4  # pools nobody has heard of: who asks for ever new names must not flood PostgreSQL
_COOL_DOWN_SECONDS = 0.5  # after the failure of one of them, before its turn is another's
_LIFETIME_JITTER = 0.1  # backends opened together must not all expire together
_VAULT_RETRY_SECONDS = 0.05
_AT_ONCE = 8  # backends that one worker opens for one pool at the same time
_DOUBT_EVERY_SECONDS = 1.0
_RETRY_JITTER = 1.25  # pools that were refused together must not all come back together


class Opener:
    """One worker's way to new backends."""

    def __init__(
        self,
        worker: int,
        config: Config,
        connector: Connector,
        pools: Pools,
        counters: CounterTable,
        mailboxes: list[Mailbox],
    ) -> None:
        """`mailboxes`: one a worker, then the vault's."""
        self.relay: Relay
        self.reception: Reception
        self.tenants: Tenants
        self._worker = worker
        self._config = config
        self._connector = connector
        self._pools = pools
        self._homes = Homes(pools)
        self._counters = counters
        self._mailboxes = mailboxes
        self._vault = mailboxes[-1]
        self._others = [box for number, box in enumerate(mailboxes[:-1]) if number != worker]
        self._greenlets = Group()
        self._opening: Counter[int] = Counter()  # backends that are being opened here, by pool
        self._not_doubted_before: defaultdict[int, float] = defaultdict(float)  # time.monotonic(), by pool
        self._poor_since: dict[
            int, float
        ] = {}  # time.monotonic(), of pools that have waited for their only backend
        self._keyless: set[int] = set()  # pools for which we lacked what PostgreSQL asked for
        self._strangers = 0  # backends that are being opened for pools nobody has heard of
        self._later: dict[int, None] = {}  # such pools that wait for their turn, oldest first
        self._log = logging.getLogger(f"worker {worker}")

    @property
    def is_at_work(self) -> bool:
        """Whether some backend is being opened now."""
        return bool(self._greenlets)

    def reconfigure(self, config: Config) -> None:
        """After a reload: backends from now on."""
        self._config = config

    def look(self, pool: int) -> None:
        """Open backends for a pool, if somebody waits, there is room, and PostgreSQL let us in lately."""
        try:
            settings = self.tenants.settings(pool)
        except KeyError:
            return  # a reload took its database away: who has a backend goes on, there will be no more
        warm = settings.min_pool_size
        lobby = self.relay.lobby(pool)
        lobby.asked = False
        self.relay.serve_waiting(pool)
        waiting = lobby.waiting
        if not self._homes.is_homed(pool):  # else what we open is of use to our own clients alone
            waiting = max(self._pools.waiters.waiting(pool), waiting)
        if self.reception.waiting(pool):
            waiting = max(waiting, 1)
        every, opening, serving = self._homes.count(pool, self._worker)
        wanted = max(waiting - opening, warm - every)
        if every or not waiting:
            self._poor_since.pop(pool, None)
        if wanted <= 0 or self._pools.is_pool_paused(pool) or self._leaves_to_others(pool, settings):
            return
        is_first = self.tenants.is_unheard_of(pool)
        if is_first and self._strangers >= _STRANGERS_AT_ONCE:
            self._later[pool] = None
            return
        trouble, retry_after_us = self._pools.tidings.trouble(pool)
        if retry_after_us:
            if not serving:
                self.refuse_waiters(pool, trouble.decode("utf-8", "replace"))
            return
        for _ in range(min(wanted, self._room(pool, opening, has_trouble=bool(trouble)))):
            slot = self._pools.open(pool, self._worker, self._reserve_of(pool))
            if slot < 0:
                if slot in (POOL_FULL, DATABASE_FULL, ALL_FULL):
                    self._make_room(pool, slot, has_any=bool(every))
                lobby.asked = True  # until a slot is cleared or the next tick
                return
            self._strangers += is_first
            self._greenlets.spawn(self._open, pool, slot, is_first)

    def _room(self, pool: int, opening: int, *, has_trouble: bool) -> int:
        """How many backends may be opened now, so that a PostgreSQL that comes back is not overrun.

        While its last log-in has failed, one in all of pgmux; then some at a time, each of which looks again.
        """
        if has_trouble:
            return 0 if opening else 1
        return max(_AT_ONCE - self._opening[pool], 0)

    def _leaves_to_others(self, pool: int, settings: PoolSettings) -> bool:
        """Whether PostgreSQL wants to know what this worker does not, and nobody waits here."""
        if pool in self._keyless and self._connector.keyring.may_open_for(settings.server_user):
            self._keyless.discard(pool)
        return pool in self._keyless and not self._has_waiting(pool)

    def _has_waiting(self, pool: int) -> bool:
        return bool(self.relay.lobby(pool).waiting or self.reception.waiting(pool))

    def look_everywhere(self) -> None:
        """Look at every pool, those with the fewest backends first: room was made for one that has none; of several
        for the one that has had none for longest.
        """

        def turn(pool: int) -> tuple[int, float]:
            return self._pools.count(pool)[0], self._poor_since.get(pool, math.inf)

        for pool in sorted(self._pools.tenancies.pools(), key=turn):
            self.look(pool)

    def _reserve_of(self, pool: int) -> int:
        """How many backends the pool may have beyond its size now: its reserve, once a client waits for long."""
        reserve, after = (
            self.tenants.settings(pool).reserve_pool_size,
            self._config.pgmux.reserve_pool_timeout,
        )
        if not reserve or not after or self._pools.longest_wait_us(pool) < after * 1_000_000:
            return 0
        return reserve

    def refuse_waiters(self, pool: int, trouble: str) -> None:
        """PostgreSQL cannot be used: tell this worker's waiting clients of the pool, and why."""
        refusal, detail, values = explain_trouble(trouble, self.tenants.server(pool))
        if refusal is Refusal.NO_POSTGRESQL and not self._config.pgmux.fail_fast:
            return  # they wait, up to query_wait_timeout or client_login_timeout
        error = refusal.build(detail, severity="ERROR", **values)
        for client in self.relay.waiting_clients(pool):
            self.relay.turn_down(client, error)
        self.reception.turn_away_waiting(pool, trouble)

    def doubt(self, pool: int) -> None:
        """A server has refused to write, or has become a standby or none. Where it matters what it is, backends are
        replaced, for which each host is looked at anew; not more than once in a while, as it may be a client's wish.
        """
        now = time.monotonic()
        try:
            settings = self.tenants.settings(pool)
        except KeyError:
            return
        if settings.target_session_attrs == "any" or now < self._not_doubted_before[pool]:
            return
        self._not_doubted_before[pool] = now + _DOUBT_EVERY_SECONDS
        self._log.warning(
            "%s may be another server than it was: backends are replaced", self.tenants.server(pool)
        )
        self._pools.renewal.outdate(pool)

    def heed_trouble(self) -> None:
        """Some worker's log-in failed: refuse those who have nothing left to wait for."""
        for pool in self.tenants.pools_in_use():
            trouble, _ = self._pools.tidings.trouble(pool)
            if trouble and not self._homes.count(pool, self._worker)[2]:
                self.refuse_waiters(pool, trouble.decode("utf-8", "replace"))

    def _make_room(self, pool: int, limit: int, *, has_any: bool) -> None:
        """A limit is reached. If it is one over several pools, close a backend that another of them has left
        idle. Else, or when there is none, ask for one whose home is another worker: shm/homes.pyx. A pool that has
        none at all begs for one that is busy.
        """
        if limit != POOL_FULL:
            victim = self._pools.evict(pool, self._worker, limit == DATABASE_FULL)
            if victim >= 0:
                self.relay.close_backend(victim)
                return
        idle = self._homes.find_idle_abroad(pool, self._worker, limit)
        if idle is not None:
            slot, generation, home = idle
            self._mailboxes[home].send(Message(Kind.GIVE_UP, slot, generation))
        elif (
            not has_any
            and time.monotonic() > self._poor_since.setdefault(pool, time.monotonic()) + BEG_AFTER_SECONDS
        ):
            beg(self._pools, pool, limit)

    def _open(self, pool: int, slot: int, is_first: bool) -> None:
        channel, begun_us, edition = None, Clock().now_us, self._connector.edition
        self._opening[pool] += 1
        try:
            settings = self.tenants.settings(pool)  # only now: the slot keeps the pool from changing hands
            channel, login = self._connector.connect(settings, application_name="pgmux")
            self._publish(pool, slot, channel, login, begun_us)
            if edition != self._connector.edition or self._leads_elsewhere_now(pool, settings):
                self._pools.renewal.outdate(pool)
        except OpenError as error:
            if error.is_keyless and not self._has_waiting(pool):
                self._leave_to_others(pool, slot)
            else:
                self._give_up(pool, slot, str(error))
        except KeyError:
            self._give_up(pool, slot, "57P03: a reload has taken the database away")
        except OSError as error:
            self._give_up(pool, slot, f"08001: {error.strerror or error}")
        except BaseException:
            self._give_up(pool, slot, "XX000: pgmux failed to open a backend, its log says why")
            raise
        finally:
            if channel is not None:
                channel.close()
            self._opening[pool] -= 1
            self.look(pool)  # others may have had to wait for their turn
            if is_first:
                self._end_first(pool)

    def _end_first(self, pool: int) -> None:
        """A pool nobody had heard of was tried, with or without success. May switch."""
        try:
            if self._pools.tidings.welcome(pool) is None:
                gevent.sleep(_COOL_DOWN_SECONDS)
        finally:
            self._strangers -= 1
        while self._later and self._strangers < _STRANGERS_AT_ONCE:
            following = next(iter(self._later))
            del self._later[following]
            self.look(following)

    def _publish(self, pool: int, slot: int, channel: Channel, login: BackendLogin, begun_us: int) -> None:
        """Make the backend everybody's, then hand it out. The vault comes first: it must not miss one.

        Under TLS it cannot be everybody's: this worker is its home.
        """
        generation = self._pools.generation(slot)
        message = Message(Kind.SOCKET, slot, generation, 0, channel.fileno())
        home = None if channel.tls is None else self._worker
        self._pools.introduce(slot, login.pid, login.key, self._expiry(), home)
        self._pools.renewal.expire_if_outdated(slot, begun_us)
        self._pools.leases.locate(slot, *channel.addresses(), 0 if channel.tls is None else channel.tls.code)
        welcome = "".join(f"{name}\0{value}\0" for name, value in login.welcome.items())
        self._pools.tidings.set_welcome(pool, welcome.encode("utf-8", "surrogateescape"))
        while not self._vault.send(message):
            gevent.sleep(_VAULT_RETRY_SECONDS)
        if home is None:
            for mailbox in self._others:  # a full one is no harm: its worker asks the vault when it needs it
                mailbox.send(message)
        if not self._pools.try_adopt(slot, self._worker):
            return
        self.relay.adopt_socket(slot, generation, channel.detach(), channel.tls)
        if self._homes.is_homed(pool) != (home is not None):
            self._homes.settle(pool, is_homed=home is not None)
            self._pools.workers.send_all_on_errand(Errand.OPEN_BACKENDS)  # each must now look for itself
        self._counters.add(self._worker, pool, "backends_opened")
        if self._pools.tidings.trouble(pool)[0]:
            self._pools.tidings.set_trouble(pool, b"", 0)
            self._log.info("PostgreSQL at %s can be used again", self.tenants.server(pool))
        self.reception.admit_the_welcome()
        self.relay.hand_out(slot)

    def _leads_elsewhere_now(self, pool: int, settings: PoolSettings) -> bool:
        """Whether a reload has changed the pool's address while we logged in at another."""
        try:
            return not self.tenants.settings(pool).leads_where(settings)
        except KeyError:
            return True

    def _give_up(self, pool: int, slot: int, trouble: str) -> None:
        """The log-in failed: everybody may know why, and the slot is empty again.

        In this order: while the slot is ours, the pool is its (database, user)'s.
        """
        self._counters.add(self._worker, pool, "login_failures")
        if self._pools.tidings.trouble(pool)[0].decode("utf-8", "replace") != trouble:
            self._log.error("cannot open a backend at %s: %s", self.tenants.server(pool), trouble)
        retry_us = int(self._config.pgmux.server_login_retry * random.uniform(1, _RETRY_JITTER) * 1_000_000)
        self._pools.tidings.set_trouble(pool, trouble.encode("utf-8", "replace"), max(retry_us, 1))
        if self._pools.shut(slot, self._worker):
            self._pools.clear(slot, self._worker)

    def _leave_to_others(self, pool: int, slot: int) -> None:
        """Here nobody has logged in by whose proof we could: elsewhere somebody may have."""
        self._keyless.add(pool)
        if self._pools.shut(slot, self._worker):
            self._pools.clear(slot, self._worker)
        self._pools.workers.send_all_on_errand(Errand.OPEN_BACKENDS)

    def _expiry(self) -> int:
        lifetime = self._config.pgmux.server_lifetime
        if not lifetime:
            return 0
        return int(time.monotonic() + lifetime * random.uniform(1 - _LIFETIME_JITTER, 1 + _LIFETIME_JITTER))
