"""What a start-up packet says, understood once.

Clients of one application send the same packet, byte by byte, each time they connect: what follows from its
bytes alone is worked out for the first of them and remembered for the rest. What depends on who connects
from where, or on secrets, is never kept here.

Compiled, because a client that connects for each query has its packet looked up each time.
"""
from pgmux.protocol import messages
from pgmux.protocol.startup import StartupMessage, parse_options, parse_startup_packet
from pgmux.session import doors
from pgmux.session.refusals import Refusal

cdef object NOT_SETTINGS = frozenset({"user", "database", "options", "replication"})
cdef object NO_REPLICATION = frozenset({"", "off", "false", "no", "0"})
cdef enum:
    KEY_BYTES = 4                # of a cancel key before protocol 3.2
    LONG_KEY_BYTES = 32          # from 3.2 on: as PostgreSQL 18 gives
    MOST_REMEMBERED = 1000       # together a megabyte at most, whatever strangers send

cdef dict remembered = {}


cdef class Introduction:
    """What a StartupMessage says. All who send the same packet share one.

    Only two things of it ever change, and both hold for the configuration at hand: what such clients are told
    (`greeting`), and whether they are let in without a proof (`trusted_by`).
    """

    def __init__(self, message):
        version, parameters, extensions = message
        self.parameters = parameters
        self.user = parameters.get("user", "")
        self.user_name = self.user.encode("utf-8", "surrogateescape")
        self.database = parameters.get("database") or self.user
        self.is_console = self.database in doors.VIRTUAL_DATABASES
        self.is_replication = parameters.get("replication", "").lower() not in NO_REPLICATION
        self.protocol_version = min(version, messages.LATEST_VERSION)
        self.key_bytes = LONG_KEY_BYTES if self.protocol_version >= (3, 2) else KEY_BYTES
        self.answer = b""
        self.refusal = self._find_fault(version)
        if version > messages.LATEST_VERSION or extensions:
            self.answer = messages.build_negotiate_protocol_version(self.protocol_version, extensions)

    def _find_fault(self, version):
        if version[0] != messages.LATEST_VERSION[0]:
            return Refusal.UNSUPPORTED_PROTOCOL, {"version": f"{version[0]}.{version[1]}"}
        if not self.user:
            return Refusal.NO_USER_NAME, {}
        return None

    @property
    def settings(self):
        """What is to be set, `options` included, names in lower case. Not to be changed.

        Raises OptionsError, each time: who has not shown who he is must not find out.
        """
        if self.known_settings is None:
            options = self.parameters.get("options")
            settings = {} if options is None else parse_options(options)
            for name, value in self.parameters.items():
                if name not in NOT_SETTINGS:
                    settings[name.lower()] = value
            self.known_settings = settings
        return self.known_settings


def introduce(bytes packet):
    """Give the request in one whole start-up packet, and remember it. Raises ClientProtocolError.

    Whoever is in haste looks into `remembered` first.
    """
    request = parse_startup_packet(packet)
    if not isinstance(request, StartupMessage):
        return request
    introduction = Introduction(request)
    if len(packet) <= LONGEST_REMEMBERED:
        if len(remembered) >= MOST_REMEMBERED:
            remembered.clear()
        remembered[packet] = introduction
    return introduction
