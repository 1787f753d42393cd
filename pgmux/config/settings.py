"""The table of options: every option of pgmux, declared once.

A field of this table, and of the two in overrides.py, is an option: its name is the key in the file, its annotation
says the rest. To add an option, add a field here, then write etc/pgmux.toml anew with
`pgmux check --options > etc/pgmux.toml`. Options that PgBouncer has keep its names and meanings.
"""

from typing import Annotated

import msgspec

from pgmux.config.addresses import Listen
from pgmux.config.durations import parse_duration
from pgmux.config.notations import (
    AuthType,
    Duration,
    Listens,
    LogFormat,
    LogLevel,
    OnPin,
    OptionalListen,
    Path,
    PoolMode,
    Protocols,
    TlsMode,
    TlsNegotiation,
)
from pgmux.config.option import Option
from pgmux.config.tls_options import VERSIONS


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [pgmux]. Durations are seconds; 0 means off."""

    workers: Annotated[
        int,
        Option(
            "Worker processes; 0 = one per CPU core.",
            bounds=(0, 250),
            reload=False,
            heading="Processes and sockets",
        ),
    ] = 0
    listen: Annotated[
        Listens,
        Option('TCP addresses: "host:port", "[::1]:6432", or ":6432" for all addresses.', reload=False),
    ] = (Listen("127.0.0.1", 6432),)
    unix_socket_dir: Annotated[
        Path,
        Option('Also listen on <dir>/.s.PGSQL.<first port of listen>; "" = no Unix socket.', reload=False),
    ] = ""
    runtime_dir: Annotated[
        Path,
        Option("Directory of the shared memory segment and the control socket.", reload=False),
    ] = "/run/pgmux"
    control_socket: Annotated[
        Path,
        Option('Socket for the control commands; "" = <runtime_dir>/control.sock.', reload=False),
    ] = ""
    metrics_listen: Annotated[
        OptionalListen,
        Option('Address for OpenMetrics at /metrics, and /healthz and /readyz; "" = off.', reload=False),
    ] = None
    log_level: Annotated[LogLevel, Option("The least severe messages that are logged.")] = "info"
    log_format: Annotated[LogFormat, Option("One line of text, or one JSON object, per message.")] = "text"
    log_connections: Annotated[bool, Option("Log each client that has logged in.")] = True
    log_disconnections: Annotated[
        bool, Option("Log each client that leaves, with the reason and how long it stayed.")
    ] = True
    log_min_duration: Annotated[
        Duration,
        Option(
            "Log queries that took so long or longer, wait and execution apart, a few each second; 0 = none."
        ),
    ] = 0.0
    log_min_wait: Annotated[
        Duration,
        Option("Log clients that waited as long or longer for a backend, a few each second; 0 = none."),
    ] = parse_duration("5s")
    log_stats: Annotated[bool, Option("Log what all pools did in each stats_period, if anything.")] = True
    stats_period: Annotated[
        Duration,
        Option("How often averages are brought up to date; they are over the last one to two such periods."),
    ] = parse_duration("60s")

    pool_mode: Annotated[
        PoolMode,
        Option(
            "When a client gives its backend back: at its end, after a transaction, after a statement.",
            heading="Pools: a pool is all backends of one (database, user)",
        ),
    ] = "transaction"
    max_backends: Annotated[
        int,
        Option(
            "Connections to PostgreSQL, all workers and pools together; one more per database for LISTEN.",
            unit="backends",
            bounds=(1, 65_536),
            reload=False,
        ),
    ] = 80
    default_pool_size: Annotated[
        int,
        Option("Backends that one pool may have.", unit="backends", bounds=(1, 65_536)),
    ] = 20
    min_pool_size: Annotated[
        int,
        Option("Backends that one pool keeps open even when idle.", unit="backends", bounds=(0, 65_536)),
    ] = 0
    reserve_pool_size: Annotated[
        int,
        Option(
            "Backends that one pool may have on top, once a client waited reserve_pool_timeout.",
            unit="backends",
            bounds=(0, 65_536),
        ),
    ] = 0
    reserve_pool_timeout: Annotated[
        Duration,
        Option("How long a client waits before its pool may use its reserve; 0 = no reserve."),
    ] = parse_duration("5s")
    max_pools: Annotated[
        int,
        Option(
            "Pools (database, user) that may exist at once; sized at start.",
            unit="pools",
            bounds=(1, 65_534),
            reload=False,
        ),
    ] = 256
    max_client_conn: Annotated[
        int,
        Option(
            "Clients that may be connected, all workers together.",
            unit="clients",
            bounds=(1, 1_000_000),
            reload=False,
        ),
    ] = 10_000
    max_prepared_statements: Annotated[
        int,
        Option(
            "Prepared statements kept on one backend, the least recently used go first.",
            unit="statements",
            bounds=(0, 65_536),
            reload=False,
        ),
    ] = 200
    deferred_begin: Annotated[
        bool,
        Option("Answer a BEGIN that comes alone, and take a backend only for what follows it."),
    ] = True
    roam: Annotated[
        bool,
        Option("For tests: give a client another backend for each transaction, where there is one."),
    ] = False
    on_pin: Annotated[
        OnPin,
        Option(
            "When a transaction leaves what cannot be carried (temporary table, cursor WITH HOLD, advisory lock,"
            ' LOAD): "allow" keeps the backend for the client, "warn" tells it and the log, "reject" is an error.'
        ),
    ] = "allow"
    max_pinned_percent: Annotated[
        int,
        Option(
            "Of a pool's backends so many may be kept in this way at once, at least one; beyond it is an error.",
            unit="percent",
            bounds=(1, 100),
        ),
    ] = 90
    audit_interval: Annotated[
        Duration,
        Option(
            "Each worker looks so often at a backend that was just let go, for what no statement has announced"
            " (a function took a lock, say): told in the log and cleaned, and so it learns which functions of a"
            " database do such things; 0 = never."
        ),
    ] = parse_duration("1s")
    last_value_reserve: Annotated[
        Duration,
        Option(
            "In a pool whose clients ask for lastval() or currval() (PDO's lastInsertId() does): a client keeps its"
            " backend for so long after an INSERT, so that what it asks for next is there; 0 = not at all."
        ),
    ] = parse_duration("250ms")
    server_reset_query: Annotated[
        str,
        Option("What cleans a backend after a client in session mode."),
    ] = "DISCARD ALL"
    ignore_startup_parameters: Annotated[
        tuple[str, ...],
        Option("Start-up parameters to drop; normally none, as they are applied and not refused."),
    ] = ()

    query_wait_timeout: Annotated[
        Duration,
        Option(
            "How long a client waits for a backend before it gets an error.", heading="Time limits; 0 = none"
        ),
    ] = parse_duration("120s")
    query_wait_notify: Annotated[
        Duration,
        Option("How long a client waits for a backend before a NOTICE tells it so, and why; 0 = no NOTICE."),
    ] = parse_duration("5s")
    client_login_timeout: Annotated[Duration, Option("How long a client may take to log in.")] = (
        parse_duration("60s")
    )
    client_idle_timeout: Annotated[
        Duration,
        Option("How long a client may be idle outside a transaction before it is disconnected."),
    ] = 0.0
    idle_transaction_timeout: Annotated[
        Duration,
        Option("How long a client may be idle inside a transaction."),
    ] = 0.0
    transaction_timeout: Annotated[Duration, Option("How long a transaction may last.")] = 0.0
    query_timeout: Annotated[Duration, Option("How long a query may run.")] = 0.0
    drain_timeout: Annotated[
        Duration,
        Option("How long SIGTERM and drain let transactions finish before they are broken off."),
    ] = parse_duration("60s")
    server_lifetime: Annotated[
        Duration,
        Option("Age at which an unused backend is replaced, spread a little so that not all go at once."),
    ] = parse_duration("1h")
    server_idle_timeout: Annotated[
        Duration,
        Option("How long a backend may stay unused before it is closed."),
    ] = parse_duration("10m")
    server_connect_timeout: Annotated[
        Duration,
        Option("How long connecting and logging in to PostgreSQL may take."),
    ] = parse_duration("15s")
    server_login_retry: Annotated[
        Duration,
        Option("How long a pool waits after PostgreSQL refused it before it tries again."),
    ] = parse_duration("1s")

    fail_fast: Annotated[
        bool,
        Option(
            "Refuse at once while PostgreSQL cannot be used; false = clients wait up to query_wait_timeout."
        ),
    ] = True

    auth_type: Annotated[
        AuthType,
        Option(
            "How a client proves who it is; with trust any name is let in without a password.",
            heading="How clients log in",
        ),
    ] = "scram-sha-256"
    auth_file: Annotated[
        Path,
        Option(
            'Names and passwords in the format of PgBouncer\'s userlist.txt: "name" "password or verifier".'
        ),
    ] = ""
    auth_hba_file: Annotated[
        Path,
        Option('Rules in the format of pg_hba.conf, for auth_type = "hba".'),
    ] = ""
    auth_ident_file: Annotated[
        Path,
        Option("Maps from names of accounts and certificates to users, in the format of pg_ident.conf."),
    ] = ""
    auth_user: Annotated[str, Option("PostgreSQL user that runs auth_query.")] = ""
    auth_query: Annotated[
        str,
        Option('Query for a user\'s password; "" with auth_user set = a safe one over pg_authid.'),
    ] = ""
    auth_dbname: Annotated[
        str,
        Option('Database in which auth_query is asked; "" = the one that the client wants.'),
    ] = ""
    auth_query_ttl: Annotated[
        Duration,
        Option("How long an answer of auth_query is good, in all workers; 0 = for those that wait for it."),
    ] = parse_duration("5s")
    max_login_conn: Annotated[
        int,
        Option(
            "Clients that may be logging in at once, all workers together; more wait to be accepted.",
            unit="clients",
            bounds=(1, 1_000_000),
        ),
    ] = 1_000
    admin_users: Annotated[
        tuple[str, ...],
        Option("Users who may give any command on the console."),
    ] = ()
    stats_users: Annotated[
        tuple[str, ...],
        Option("Users who may use SHOW on the console."),
    ] = ()

    client_tls_sslmode: Annotated[
        TlsMode,
        Option("TLS between clients and pgmux, with the words of PostgreSQL's sslmode.", heading="TLS"),
    ] = "disable"
    client_tls_key_file: Annotated[Path, Option("Private key of pgmux.")] = ""
    client_tls_cert_file: Annotated[Path, Option("Certificate of pgmux.")] = ""
    client_tls_ca_file: Annotated[Path, Option("Authorities that sign clients' certificates.")] = ""
    client_tls_protocols: Annotated[Protocols, Option("Versions of TLS that clients may use.")] = VERSIONS
    client_tls_ciphers: Annotated[
        str,
        Option('Ciphers for TLS 1.2: "default", "secure", or a list in OpenSSL\'s syntax.'),
    ] = "default"
    client_tls13_ciphers: Annotated[
        str, Option('Ciphers for TLS 1.3, separated by colons; "" = those of OpenSSL, with 128 bits first.')
    ] = ""
    client_tls_ecdhcurve: Annotated[
        str, Option('Curves for the key exchange, separated by colons; "auto" = those of OpenSSL.')
    ] = "auto"
    server_tls_sslmode: Annotated[
        TlsMode,
        Option(
            "TLS between pgmux and PostgreSQL, with the words of PostgreSQL's sslmode; never on a Unix "
            'socket, and by "prefer" on a loopback address only if PostgreSQL insists.'
        ),
    ] = "prefer"
    server_tls_key_file: Annotated[Path, Option("Private key that pgmux shows to PostgreSQL.")] = ""
    server_tls_cert_file: Annotated[Path, Option("Certificate that pgmux shows to PostgreSQL.")] = ""
    server_tls_ca_file: Annotated[
        Path,
        Option(
            'Authorities that sign PostgreSQL\'s certificate; "" for "verify-full" = those the system trusts.'
        ),
    ] = ""
    server_tls_negotiation: Annotated[
        TlsNegotiation,
        Option('"direct" begins with TLS at once, which PostgreSQL 17 and later understand.'),
    ] = "postgres"
    server_tls_protocols: Annotated[Protocols, Option("Versions of TLS for PostgreSQL.")] = VERSIONS
    server_tls_ciphers: Annotated[
        str,
        Option('Ciphers for TLS 1.2: "default", "secure", or a list in OpenSSL\'s syntax.'),
    ] = "default"
    server_tls13_ciphers: Annotated[
        str, Option('Ciphers for TLS 1.3, separated by colons; "" = those of OpenSSL.')
    ] = ""
