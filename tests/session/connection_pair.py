"""A client's log-in and a backend's log-in joined in memory: what one sends, the other is fed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pgmux.protocol.messages import Message, split_messages
from pgmux.protocol.scram import derive_verifier
from pgmux.session.backend_login import BackendLogin
from pgmux.session.client_login import ClientLogin, Step
from pgmux.session.doors import Doors
from pgmux.session.secret import Password, Secret, hash_md5
from pgmux.session.welcome import Welcome

PASSWORD = b"open sesame"
VERIFIER = derive_verifier(PASSWORD, b"0123456789abcdef", 8)  # few iterations: these tests are many
SECRETS: Mapping[str, Secret] = {
    "plain": Password(PASSWORD),
    "md5": hash_md5("md5", PASSWORD),
    "scram": VERIFIER,
    "empty": Password(b""),
}

REPORTED = {  # by PostgreSQL 18, in its order
    "search_path": '"$user", public',
    "in_hot_standby": "off",
    "integer_datetimes": "on",
    "TimeZone": "Etc/UTC",
    "IntervalStyle": "postgres",
    "is_superuser": "off",
    "application_name": "pgmux",
    "default_transaction_read_only": "off",
    "scram_iterations": "4096",
    "DateStyle": "ISO, MDY",
    "standard_conforming_strings": "on",
    "session_authorization": "app",
    "client_encoding": "UTF8",
    "server_version": "18.4",
    "server_encoding": "UTF8",
}
WELCOME = Welcome(REPORTED, {"pgmux.version": "0.1.0"})


def make_doors(
    auth_type: str,
    secrets: Mapping[str, Secret] = SECRETS,
    databases: Iterable[str] = ("app",),
    mock_key: bytes = b"sixteen bytes!!!",
    owner_uids: Iterable[int] = (),
) -> Doors:
    """Give doors to the databases named, for the users of SECRETS."""
    return Doors(
        auth_type, secrets, frozenset(databases).__contains__, mock_key, owner_uids=tuple(owner_uids)
    )


@dataclass
class ConnectionPair:
    """Both ends of one log-in; `to_client` and `to_backend` keep all that went over the wire."""

    client: BackendLogin  # pgmux in the role of a client is as good a client as any
    server: ClientLogin
    piece: int = 1 << 20  # bytes handed over at a time
    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)

    @classmethod
    def join(
        cls,
        doors: Doors,
        user: str,
        password: str | Secret | None,
        database: str = "app",
        piece: int = 1 << 20,
    ) -> "ConnectionPair":
        """Join a client that has this password with a pgmux that has these doors."""
        return cls(BackendLogin(user, password, database, {}), ClientLogin(doors), piece)

    def run(self) -> Step:
        """Let both talk until the server's side has come to an end or to AUTHENTICATED; give its step."""
        saying = self.client.start()
        while saying:
            answer = self.say_to_server(saying)
            saying = self.say_to_client(answer) if answer else b""
        return self.server.step

    def admit(self, pid: int = 7, key: bytes = b"key!") -> None:
        """Admit the client, and let it hear the greeting."""
        self.say_to_client(self.server.admit(WELCOME, pid, key))

    def say_to_server(self, data: bytes) -> bytes:
        self.to_server += data
        answers = b""
        for piece in self._cut(data):
            self.server.feed(piece)
            answers += self.server.take_outgoing()
        return answers

    def say_to_client(self, data: bytes) -> bytes:
        self.to_client += data
        return b"".join(map(self.client.feed, self._cut(data)))

    def heard_by_client(self) -> list[Message]:
        """All messages that the server's side sent."""
        return split_messages(bytes(self.to_client))[0]

    def _cut(self, data: bytes) -> list[bytes]:
        return [data[start : start + self.piece] for start in range(0, len(data), self.piece)]
