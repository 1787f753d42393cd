"""Every option of PgBouncer 1.18 to 1.25, and what becomes of it.

One row an option and place. pgmux keeps PgBouncer's names and meanings, so an option that stands here as
not carried is carried from the day on that pgmux's own table of options has it: see `Row.becomes`.
PgBouncer's documentation: config.md.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from pgmux.config.durations import format_duration
from pgmux.config.option import rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings

GLOBAL, DATABASE, USER, PEER = "pgbouncer", "databases", "users", "peers"  # PgBouncer's sections
TABLES: Final[dict[str, type[msgspec.Struct]]] = {GLOBAL: Settings, DATABASE: Database, USER: User}


class Fate(Enum):
    """What becomes of an option; the words of the report."""

    CARRIED = "carried"
    RENAMED = "renamed"
    NOT_NEEDED = "not needed"
    NOT_CARRIED = "not carried"


def read_text(text: str) -> str:
    """A text as it is."""
    return text


def read_word(text: str) -> str:
    """A choice: PgBouncer does not mind capitals."""
    return text.lower()


def read_number(text: str) -> int:
    """A whole number: decimal, 0x…, or octal with a leading 0 (strtol(3), base 0). Raises ValueError."""
    digits = text.strip().lower().lstrip("+-")
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    return int(text, base)


def read_switch(text: str) -> bool:
    """0 or 1, as true or false. Raises ValueError."""
    return bool(read_number(text))


def read_seconds(text: str) -> str | float:
    """Seconds, in pgmux's spelling of durations. Raises ValueError."""
    return format_duration(float(text))


def read_list(text: str) -> list[str]:
    """Names with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


Reader = Callable[[str], object]


class Row(NamedTuple):
    """One option of PgBouncer's, in one of its sections."""

    section: str
    name: str
    read: Reader  # its value, as TOML can hold it
    fate: Fate
    why: str = ""  # in a sentence without its full stop; for a renamed one, what it is now
    default: str | None = None  # PgBouncer's, where it must be written down because pgmux's is another
    guards: bool = False  # dropping it could let somebody in: better an error than silence

    def becomes(self) -> Fate:
        """Its fate with this version of pgmux."""
        table = TABLES.get(self.section)
        if self.fate is Fate.NOT_CARRIED and table is not None and self.name in rows_of(table):
            return Fate.CARRIED
        return self.fate

    def why_not(self, text: str) -> str:
        """Why a value cannot go on; "" when it can."""
        try:
            text.encode()
            value = self.read(text)
        except UnicodeEncodeError:
            return "TOML is UTF-8, and this is not"
        except ValueError:
            return "PgBouncer would refuse this value"
        return FOR_EVER if self.name == "server_lifetime" and value == 0 else ""


def _all(fate: Fate, section: str, why: str, read: Reader, names: str) -> tuple[Row, ...]:
    return tuple(Row(section, name, read, fate, why) for name in names.split())


UNKNOWN: Final = "no option of PgBouncer 1.18 to 1.25"
FOR_EVER: Final = "0 closes a backend after its first use in PgBouncer, and never in pgmux"

_CARRIED, _RENAMED, _NOT_NEEDED, _NOT_CARRIED = Fate

_LOGS = "pgmux logs to standard error, which systemd keeps"
_DNS = "a host's name is looked up anew for every backend"
_ONE_POOL = "pgmux's workers share one port and one pool, and any of them can cancel any query"
_CHECKS = "pgmux reads what idle backends say and notices at once when one ends"
_TLS = "the system's OpenSSL decides"
_KEEPALIVE = "connections are kept alive with the system's times: sysctl net.ipv4.tcp_keepalive_time"
_EVENTS = "log_level decides what is logged"
_OWN_SETTINGS = "every client gets the settings that it asks for itself"

OPTIONS: Final[tuple[Row, ...]] = (
    # --- [pgbouncer]: what pgmux has by the same name
    *_all(_CARRIED, GLOBAL, "", read_text, "auth_dbname auth_query auth_user server_reset_query"),
    Row(GLOBAL, "auth_ident_file", read_text, _CARRIED),
    *_all(
        _CARRIED,
        GLOBAL,
        "",
        read_text,
        "auth_file client_tls_ca_file client_tls_cert_file client_tls_key_file",
    ),
    *_all(_CARRIED, GLOBAL, "", read_text, "client_tls_ciphers client_tls13_ciphers client_tls_protocols"),
    *_all(_CARRIED, GLOBAL, "", read_text, "client_tls_ecdhcurve"),
    *_all(_CARRIED, GLOBAL, "", read_text, "server_tls_ca_file server_tls_cert_file server_tls_key_file"),
    *_all(_CARRIED, GLOBAL, "", read_text, "server_tls_ciphers server_tls13_ciphers server_tls_protocols"),
    *_all(_CARRIED, GLOBAL, "", read_list, "admin_users ignore_startup_parameters stats_users"),
    *_all(_CARRIED, GLOBAL, "", read_number, "default_pool_size max_prepared_statements min_pool_size"),
    *_all(_CARRIED, GLOBAL, "", read_number, "reserve_pool_size"),
    *_all(_CARRIED, GLOBAL, "", read_seconds, "client_idle_timeout client_login_timeout query_timeout"),
    *_all(
        _CARRIED, GLOBAL, "", read_seconds, "idle_transaction_timeout query_wait_timeout transaction_timeout"
    ),
    *_all(
        _CARRIED, GLOBAL, "", read_seconds, "reserve_pool_timeout server_connect_timeout server_idle_timeout"
    ),
    *_all(
        _CARRIED,
        GLOBAL,
        "",
        read_seconds,
        "query_wait_notify server_lifetime server_login_retry stats_period",
    ),
    *_all(_CARRIED, GLOBAL, "", read_switch, "log_connections log_disconnections log_stats"),
    Row(GLOBAL, "unix_socket_dir", read_text, _CARRIED),
    Row(GLOBAL, "auth_hba_file", read_text, _CARRIED, guards=True),
    Row(GLOBAL, "client_tls_sslmode", read_word, _CARRIED, guards=True),
    Row(GLOBAL, "server_tls_sslmode", read_word, _CARRIED, guards=True),
    Row(GLOBAL, "max_client_conn", read_number, _CARRIED, default="100"),
    Row(GLOBAL, "pool_mode", read_word, _CARRIED, default="session"),
    # --- [pgbouncer]: by another name
    Row(GLOBAL, "auth_type", read_word, _RENAMED, "plain is called password", default="md5", guards=True),
    Row(GLOBAL, "listen_addr", read_list, _RENAMED, "listen"),
    Row(GLOBAL, "listen_port", read_number, _RENAMED, "listen"),
    Row(GLOBAL, "max_db_connections", read_number, _RENAMED, "max_backends of each database"),
    Row(GLOBAL, "max_db_client_connections", read_number, _RENAMED, "max_client_conn of each database"),
    Row(GLOBAL, "verbose", read_number, _RENAMED, 'log_level = "debug"'),
    # --- [pgbouncer]: not needed
    *_all(_NOT_NEEDED, GLOBAL, _LOGS, read_text, "logfile syslog syslog_facility syslog_ident"),
    *_all(_NOT_NEEDED, GLOBAL, _DNS, read_seconds, "dns_max_ttl dns_nxdomain_ttl dns_zone_check_period"),
    *_all(_NOT_NEEDED, GLOBAL, _ONE_POOL, read_number, "peer_id so_reuseport"),
    *_all(_NOT_NEEDED, GLOBAL, _CHECKS, read_text, "server_check_delay server_check_query"),
    *_all(
        _NOT_NEEDED, GLOBAL, "systemd knows its services by their units", read_text, "job_name service_name"
    ),
    *_all(
        _NOT_NEEDED,
        GLOBAL,
        "the relay's buffer is fixed and passes messages of any size",
        read_number,
        "pkt_buf",
    ),
    *_all(_NOT_NEEDED, GLOBAL, "every connection gets its turn in each round", read_number, "sbuf_loopcnt"),
    *_all(_NOT_NEEDED, GLOBAL, "pgmux has no SUSPEND", read_seconds, "suspend_timeout"),
    *_all(_NOT_NEEDED, GLOBAL, "a reload reads the file that pgmux was started with", read_text, "conffile"),
    *_all(
        _NOT_NEEDED,
        GLOBAL,
        "pgmux stays in the foreground, and systemd knows its process",
        read_text,
        "pidfile",
    ),
    *_all(_NOT_NEEDED, GLOBAL, "pgmux runs as User= of its systemd unit says", read_text, "user"),
    *_all(
        _NOT_NEEDED,
        GLOBAL,
        "a cancel request does not wait for a backend",
        read_seconds,
        "cancel_wait_timeout",
    ),
    Row(
        GLOBAL, "autodb_idle_timeout", read_seconds, _NOT_NEEDED, "server_idle_timeout closes unused backends"
    ),
    Row(
        GLOBAL,
        "pool_idle_timeout",
        read_seconds,
        _NOT_NEEDED,
        "a pool without backends costs a record in max_pools",
    ),
    Row(
        GLOBAL,
        "listen_backlog",
        read_number,
        _NOT_NEEDED,
        "pgmux asks for 4096; sysctl net.core.somaxconn limits it",
    ),
    Row(
        GLOBAL,
        "tcp_defer_accept",
        read_number,
        _NOT_NEEDED,
        "pgmux has the kernel wait for a client's first words, for a second",
    ),
    Row(
        GLOBAL, "track_extra_parameters", read_list, _NOT_NEEDED, "pgmux follows all that PostgreSQL reports"
    ),
    # --- [pgbouncer]: not carried
    Row(GLOBAL, "client_tls_dheparams", read_text, _NOT_CARRIED, _TLS),
    *_all(
        _NOT_CARRIED,
        GLOBAL,
        _KEEPALIVE,
        read_number,
        "tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_user_timeout",
    ),
    Row(GLOBAL, "tcp_keepalive", read_switch, _NOT_CARRIED, _KEEPALIVE),
    Row(GLOBAL, "log_pooler_errors", read_switch, _NOT_CARRIED, _EVENTS),
    Row(
        GLOBAL,
        "application_name_add_host",
        read_switch,
        _NOT_CARRIED,
        "PostgreSQL sees the application_name that the client gave; `pgmux doctor` adds the address",
    ),
    Row(GLOBAL, "auth_ldap_options", read_text, _NOT_CARRIED, "log-in by LDAP is not supported"),
    Row(
        GLOBAL,
        "disable_pqexec",
        read_switch,
        _NOT_CARRIED,
        "pgmux does not refuse several statements in one query",
    ),
    Row(GLOBAL, "login_notify_message", read_text, _NOT_CARRIED, "pgmux sends no message of yours at log-in"),
    Row(GLOBAL, "max_packet_size", read_number, _NOT_CARRIED, "messages may be as long as PostgreSQL allows"),
    Row(
        GLOBAL,
        "max_user_client_connections",
        read_number,
        _NOT_CARRIED,
        "max_client_conn in [users.NAME] limits the clients of one user",
    ),
    Row(
        GLOBAL,
        "max_user_connections",
        read_number,
        _NOT_CARRIED,
        "pool_size in [users.NAME] limits a user's pools",
    ),
    Row(GLOBAL, "resolv_conf", read_text, _NOT_CARRIED, "the system's resolver is used"),
    Row(
        GLOBAL,
        "scram_iterations",
        read_number,
        _NOT_CARRIED,
        "verifiers in auth_file bring their own count of iterations",
    ),
    Row(
        GLOBAL,
        "server_fast_close",
        read_switch,
        _NOT_CARRIED,
        "a client in session mode keeps its backend to its end",
    ),
    Row(
        GLOBAL,
        "server_reset_query_always",
        read_switch,
        _NOT_CARRIED,
        "server_reset_query is for session mode; it would cost every transaction a round trip",
    ),
    Row(
        GLOBAL,
        "server_round_robin",
        read_switch,
        _NOT_CARRIED,
        "a worker prefers the backend it used last, whose caches are warm",
    ),
    Row(GLOBAL, "tcp_socket_buffer", read_number, _NOT_CARRIED, "the system sizes its buffers itself"),
    Row(
        GLOBAL,
        "unix_socket_group",
        read_text,
        _NOT_CARRIED,
        "everybody may connect to the socket; restrict its directory instead",
    ),
    Row(
        GLOBAL,
        "unix_socket_mode",
        read_number,
        _NOT_CARRIED,
        "everybody may connect to the socket; restrict its directory instead",
    ),
    # --- [databases]
    *_all(_CARRIED, DATABASE, "", read_text, "dbname password user"),
    *_all(_CARRIED, DATABASE, "", read_number, "min_pool_size pool_size port reserve_pool_size"),
    Row(DATABASE, "host", read_list, _CARRIED),
    Row(DATABASE, "pool_mode", read_word, _CARRIED),
    Row(DATABASE, "max_db_connections", read_number, _RENAMED, "max_backends"),
    Row(DATABASE, "reserve_pool", read_number, _RENAMED, "reserve_pool_size"),
    *_all(_NOT_CARRIED, DATABASE, "pgmux has it in [pgmux] alone", read_text, "auth_query auth_user"),
    *_all(
        _NOT_CARRIED,
        DATABASE,
        "pgmux has it in [pgmux] alone",
        read_seconds,
        "query_wait_timeout server_lifetime",
    ),
    *_all(
        _NOT_CARRIED,
        DATABASE,
        _OWN_SETTINGS,
        read_text,
        "application_name client_encoding datestyle timezone",
    ),
    Row(DATABASE, "auth_dbname", read_text, _NOT_CARRIED, "pgmux has it in [pgmux] alone"),
    Row(
        DATABASE,
        "connect_query",
        read_text,
        _NOT_CARRIED,
        "nothing is run on a new backend; ALTER DATABASE or ALTER ROLE … SET does it in PostgreSQL",
    ),
    Row(DATABASE, "load_balance_hosts", read_word, _NOT_CARRIED, "hosts are tried in their order"),
    Row(DATABASE, "max_db_client_connections", read_number, _RENAMED, "max_client_conn"),
    # --- [users]
    *_all(_CARRIED, USER, "", read_number, "pool_size reserve_pool_size"),
    Row(USER, "pool_mode", read_word, _CARRIED),
    Row(USER, "max_user_connections", read_number, _NOT_CARRIED, "pool_size limits each of the user's pools"),
    Row(USER, "max_user_client_connections", read_number, _RENAMED, "max_client_conn"),
    *_all(
        _NOT_CARRIED, USER, "pgmux has it in [pgmux] alone", read_seconds, "client_idle_timeout query_timeout"
    ),
    *_all(
        _NOT_CARRIED,
        USER,
        "pgmux has it in [pgmux] alone",
        read_seconds,
        "query_wait_timeout transaction_timeout",
    ),
    *_all(_NOT_CARRIED, USER, "pgmux has it in [pgmux] alone", read_seconds, "idle_transaction_timeout"),
    # --- [peers]
    *_all(_NOT_NEEDED, PEER, _ONE_POOL, read_text, "host pool_size port"),
)

BY_PLACE: Final = {(row.section, row.name): row for row in OPTIONS}
