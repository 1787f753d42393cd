"""The informant: what a log-in must know of a user, asked of PostgreSQL (auth_query).

It asks as a client of pgmux's own pools would, by a connection that it makes for the purpose to its own
relay: so its questions are within max_backends, wait their turn, and are served by whatever backend auth_user
has, in whatever worker that was opened. What PostgreSQL says lies in shared memory for a moment
(shm/answers.pyx), and a storm of log-ins of one user, in all workers, is one question.

Of a failed question the clients learn only that it failed; the log has the reason.
"""

import logging
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from gevent import socket
from gevent.pool import Group

from pgmux.config import Config
from pgmux.errors import PgmuxError
from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.messages import build_terminate, take_message
from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay
from pgmux.session.client_login import Step
from pgmux.session.lookup import DEFAULT_QUERY, Answer, Lookup, LookupFailed, unpack_answer
from pgmux.session.refusals import Refusal
from pgmux.shm.answers import Answers, Verdict
from pgmux.worker.tenants import Tenants

if TYPE_CHECKING:
    from pgmux.worker.reception import Reception

_AT_ONCE = 50  # questions that are sent before the first of them is answered
_ATTEMPTS = 3
_READ_BYTES = 65_536
_LONGEST_REPLY = 1 << 20
_PATIENCE_US = 20_000_000  # with another worker that asks; its death is noticed sooner
_DISTRUST_AFTER_US = 1_000_000  # guessing has PostgreSQL asked about a user no oftener


class Informant:
    """One worker's questions about users."""

    def __init__(self, worker: int, config: Config, answers: Answers) -> None:
        self.relay: Relay
        self.reception: Reception
        self.tenants: Tenants
        self._worker = worker
        self._config = config
        self._answers = answers
        self._waiting: dict[bytes, tuple[Lookup, list[Client]]] = {}  # log-ins, by the key of their question
        self._to_ask: defaultdict[str, deque[Lookup]] = defaultdict(deque)  # by database
        self._asking: set[str] = set()  # databases
        self._greenlets = Group()
        self._log = logging.getLogger(f"worker {worker}")

    @property
    def is_at_work(self) -> bool:
        """Whether some question is being asked."""
        return bool(self._greenlets)

    def reconfigure(self, config: Config) -> None:
        """After a reload: questions from now on."""
        self._config = config

    # --- called by the reception: these must not switch

    def inform(self, client: Client) -> None:
        """A log-in is at LOOKUP: see to it that it goes on."""
        lookup = self._lookup_for(client)
        if lookup is None:
            self._answer(client, Answer(None, frozenset()))
            return
        key = lookup.key
        if key in self._waiting:
            self._waiting[key][1].append(client)
            self.relay.keep_waiting(client)
            return
        verdict, packed = self._consult(key)
        if verdict is Verdict.HAVE and packed is not None:
            self._answer(client, unpack_answer(packed))
            return
        self._waiting[key] = (lookup, [client])
        self.relay.keep_waiting(client)
        if verdict is Verdict.ASK:
            self._ask(lookup)

    def distrust(self, client: Client) -> None:
        """A log-in has failed: what was known of its user may be old."""
        lookup = self._lookup_for(client)
        if lookup is not None:
            self._answers.distrust(lookup.key, _DISTRUST_AFTER_US)

    # --- called by the worker

    def hear(self) -> None:
        """Some worker was answered, or gave up, or died: look again, for all who wait here."""
        for key, (lookup, _) in list(self._waiting.items()):
            if lookup.is_asked:
                continue
            verdict, packed = self._consult(key)
            if verdict is Verdict.HAVE and packed is not None:
                self._settle(lookup, unpack_answer(packed))
            elif verdict is Verdict.ASK:
                self._ask(lookup)

    # --- steps

    def _lookup_for(self, client: Client) -> Lookup | None:
        """The question about a client; None where there is no database in which it could be asked."""
        login = client.login
        assert login is not None
        database = self._config.auth_database(login.database)
        if database is None:
            return None
        query = self._config.pgmux.auth_query or DEFAULT_QUERY
        return Lookup(database, login.user, query, login.wanted_roles)

    def _consult(self, key: bytes) -> tuple[Verdict, bytes | None]:
        fresh_us = int(self._config.pgmux.auth_query_ttl * 1_000_000)
        return self._answers.consult(key, self._worker, fresh_us, _PATIENCE_US)

    def _ask(self, lookup: Lookup) -> None:
        database, lookup.is_asked = lookup.database, True
        self._to_ask[database].append(lookup)
        if database not in self._asking:
            self._asking.add(database)
            self._greenlets.spawn(self._ask_all, database)

    def _settle(self, lookup: Lookup, answer: Answer | None) -> None:
        """Everybody here who waits for this answer has it; None = there is none."""
        _, clients = self._waiting.pop(lookup.key, (lookup, []))
        for client in clients:
            if answer is None:
                self.reception.turn_away(client, Refusal.CANNOT_ASK)
            else:
                self._answer(client, answer)

    def _answer(self, client: Client, answer: Answer) -> None:
        if client.login is not None and client.login.step is Step.LOOKUP:  # else it has gone meanwhile
            client.login.answer_lookup(answer.secret, answer.roles)
            self.relay.continue_login(client)

    # --- the greenlet of a database

    def _ask_all(self, database: str) -> None:
        """Ask until nothing is left to be asked. May switch."""
        questions = self._to_ask[database]
        under_way: list[Lookup] = []
        try:
            with self._connect(database) as connection:
                replies = bytearray()
                while questions:
                    under_way = [questions.popleft() for _ in range(min(len(questions), _AT_ONCE))]
                    connection.sendall(b"".join(lookup.question() for lookup in under_way))
                    while under_way:
                        self._conclude(under_way[0], self._read_answer(under_way[0], connection, replies))
                        del under_way[0]
                connection.sendall(build_terminate())
        except (OSError, PgmuxError, BackendProtocolError, KeyError) as error:
            self._log.error("cannot ask PostgreSQL about users in database %r: %s", database, error)
        finally:
            self._asking.discard(database)
            for lookup in [*under_way, *questions]:  # something went wrong
                self._conclude(lookup, None)
            questions.clear()

    def _connect(self, database: str) -> socket.socket:
        """A connection to our own relay, in the pool of auth_user. Raises PgmuxError, KeyError."""
        for _ in range(_ATTEMPTS):  # the pool's record may be given to others before we are in
            place = self.tenants.place_of_own(database, self._config.pgmux.auth_user)
            descriptor = self.relay.invite(*place, b"pgmux auth_query")
            if descriptor is not None:
                return socket.socket(fileno=descriptor)
        raise PgmuxError("max_client_conn is reached, the spare ones too")

    def _read_answer(self, lookup: Lookup, connection: socket.socket, replies: bytearray) -> Answer | None:
        """PostgreSQL's answer; None, and a line in the log, where it gave none. May switch."""
        while True:
            message = take_message(replies, _LONGEST_REPLY, BackendProtocolError)
            if message is None:
                data = connection.recv(_READ_BYTES)
                if not data:
                    raise PgmuxError("the connection was closed")
                replies += data
                continue
            try:
                answer = lookup.hear(message)
            except LookupFailed as failed:
                self._log.error("auth_query failed for user %r: %s", lookup.user, failed)
                return None
            if answer is not None:
                return answer

    def _conclude(self, lookup: Lookup, answer: Answer | None) -> None:
        """A question has been asked to its end: tell the other workers, and those who wait here."""
        packed = None if answer is None else answer.pack()
        if packed is None or not self._answers.tell(lookup.key, self._worker, packed):
            self._answers.give_up(lookup.key, self._worker)
        self._settle(lookup, answer)
