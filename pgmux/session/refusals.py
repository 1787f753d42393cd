"""Every error that pgmux itself tells a client: one table, and the one place where they are built.

The message says which limit or cause and its value, the hint what to do about it. FATAL ends the session,
after an ERROR it goes on. Errors that PostgreSQL makes are passed on as they are and do not stand here.
"""

from enum import Enum

from pgmux.protocol.messages import build_error_response

_FATAL, _ERROR = "FATAL", "ERROR"
_ASK_THE_LOG = "The log of pgmux has the reason."


class Refusal(Enum):
    """A case: its SQLSTATE, severity, message and hint, the last two with names to be filled in."""

    # ---- at log-in
    MALFORMED = (
        "08P01",
        _FATAL,
        "{problem}",
        "The client does not speak PostgreSQL's protocol 3 as expected.",
    )
    UNSUPPORTED_PROTOCOL = (
        "0A000",
        _FATAL,
        "unsupported frontend protocol {version}: pgmux supports 3.0 to 3.2",
        "Use a client that speaks protocol 3.",
    )
    NO_USER_NAME = (
        "28000",
        _FATAL,
        "no PostgreSQL user name specified in startup packet",
        "Name a user in the connection string.",
    )
    INVALID_OPTIONS = ("42601", _FATAL, "{problem}", "Write -c name=value for each setting in options.")
    TLS_REQUIRED = (
        "28000",
        _FATAL,
        'connections without TLS are refused: client_tls_sslmode is "{mode}"',
        "Connect with sslmode=require or stronger.",
    )
    NO_REPLICATION = (
        "28000",  # where PostgreSQL does not say another
        _FATAL,
        "{problem}",
        "PostgreSQL refuses this replication connection: its pg_hba.conf and the role must allow it.",
    )
    AUTHENTICATION_FAILED = (
        "28P01",
        _FATAL,
        'password authentication failed for user "{user}"',
        "Check the user name and the password. " + _ASK_THE_LOG,
    )
    NOT_LET_IN = (
        "28000",
        _FATAL,
        'no rule lets user "{user}" into database "{database}" from {address}, {encryption}',
        "The rules stand in auth_hba_file. " + _ASK_THE_LOG,
    )
    PEER_FAILED = (
        "28000",
        _FATAL,
        'peer authentication failed for user "{user}"',
        "Connect from the account that belongs to this user. " + _ASK_THE_LOG,
    )
    CERTIFICATE_FAILED = (
        "28000",
        _FATAL,
        'certificate authentication failed for user "{user}"',
        "Show a certificate that belongs to this user. " + _ASK_THE_LOG,
    )
    CANNOT_ASK = (
        "57P03",
        _FATAL,
        "PostgreSQL cannot be asked now who may log in",
        "Try again in a moment. " + _ASK_THE_LOG,
    )
    NO_SUCH_DATABASE = (
        "3D000",
        _FATAL,
        'database "{database}" does not exist',
        'Add [databases.{database}] to the configuration of pgmux, or "*" for any name.',
    )
    LOGIN_TIMEOUT = (
        "57014",
        _FATAL,
        "the log-in took longer than client_login_timeout ({timeout})",
        "Check the network between client and pgmux.",
    )

    DATABASE_DISABLED = (
        "55000",
        _FATAL,
        'database "{database}" is disabled',
        "ENABLE it on the console of pgmux.",
    )
    NO_CONSOLE = (
        "42501",
        _FATAL,
        'user "{user}" may not use the console',
        "Name the user in admin_users or stats_users.",
    )

    # ---- limits
    CLIENT_LIMIT = (
        "53300",
        _FATAL,
        "too many clients: {limit} is {value}",
        "Close idle clients, or raise {limit}.",
    )
    LOGIN_LIMIT = (
        "53300",
        _FATAL,
        "too many clients are logging in: {limit} is {value}, and this one has been silent",
        "Log in without delay, or raise {limit}.",
    )
    POOL_LIMIT = (
        "53300",
        _FATAL,
        "no backend is left: {limit} is {value}",
        "Shorten transactions, or raise {limit}.",
    )
    WAITED_TOO_LONG = (
        "53300",
        _FATAL,
        "no backend became free within query_wait_timeout ({timeout})",
        "Shorten transactions, or raise default_pool_size or query_wait_timeout.",
    )

    # ---- while a session lasts
    CANCELLED = (
        "57014",
        _ERROR,
        "canceling statement due to user request",
        "It was still waiting for a backend and has not begun.",
    )
    NO_POSTGRESQL = (
        "57P03",
        _FATAL,
        "PostgreSQL at {server} cannot be used now",
        "Check that it runs and accepts the log-in of pgmux, then try again.",
    )
    POSTGRESQL_HAS_NO_SUCH_DATABASE = (
        "3D000",
        _FATAL,
        "{problem}",
        "This is PostgreSQL's answer: check how the database is spelled, or create it there.",
    )
    BACKEND_DIED = (
        "08006",
        _FATAL,
        "the connection to PostgreSQL was lost",
        "Connect again; whether the last statement took effect is not known.",
    )
    NO_TRANSACTIONS = (
        "0A000",
        _ERROR,
        'a transaction block is not possible with pool_mode "statement"',
        'Use pool_mode "transaction".',
    )
    PIN_REJECTED = (
        "0A000",
        _ERROR,
        '{reason}: it would keep a backend for this session alone, which on_pin = "reject" does not allow',
        "The transaction is over and stands, the {reason} is gone. Use it within one transaction, or pool_mode"
        ' "session".',
    )
    TOO_MANY_PINNED = (
        "53300",
        _ERROR,
        "{reason}: it would keep a backend for this session alone, and {limit} of this pool are kept already,"
        " the limit by max_pinned_percent",
        "The transaction is over and stands, the {reason} is gone. Try again later, or use it within one"
        " transaction.",
    )
    TRANSACTION_FAILED = (
        "25P02",
        _ERROR,
        "current transaction is aborted, commands ignored until end of transaction block",
        "It got no backend and has not begun. End it with ROLLBACK.",
    )
    SETTINGS_REFUSED = (
        "22023",  # where PostgreSQL does not say another
        _FATAL,
        "{problem}",
        "PostgreSQL does not accept what this session has set, or asked for when it connected.",
    )
    QUERY_TIMEOUT = (
        "57014",
        _ERROR,
        "canceling statement due to query_timeout ({timeout})",
        "Make the query faster, or raise query_timeout.",
    )
    IDLE_IN_TRANSACTION = (
        "25P03",
        _FATAL,
        "terminating connection due to idle_transaction_timeout ({timeout})",
        "End transactions sooner, or raise idle_transaction_timeout.",
    )
    TRANSACTION_TIMEOUT = (
        "25P04",
        _FATAL,
        "terminating connection due to transaction_timeout ({timeout})",
        "Shorten transactions, or raise transaction_timeout.",
    )
    CLIENT_IDLE = (
        "57P05",
        _FATAL,
        "terminating connection due to client_idle_timeout ({timeout})",
        "Connect again, or raise client_idle_timeout.",
    )
    NOTIFICATIONS_OVERRUN = (
        "54000",
        _FATAL,
        "more than {limit} of notifications waited for this client",
        "Connect again and read anew what was notified; read notifications sooner, keep transactions short.",
    )
    KILLED = (
        "57P01",
        _FATAL,
        "terminating connection due to administrator command",
        "The operator of pgmux has ended it; connect again if you may.",
    )
    SHUTTING_DOWN = (
        "57P01",
        _FATAL,
        "terminating connection because pgmux shuts down",
        "Connect again in a moment.",
    )

    def __init__(self, sqlstate: str, severity: str, message: str, hint: str) -> None:
        self.sqlstate = sqlstate
        self.severity = severity
        self.message = message
        self.hint = hint

    def describe(self, **values: str) -> str:
        """Give the message with its names filled in. Raises KeyError for a name without a value."""
        return self.message.format(**values)

    def build(
        self, detail: str | None = None, severity: str = "", sqlstate: str = "", **values: str
    ) -> bytes:
        """Give the ErrorResponse. Raises KeyError for a name without a value.

        `severity` where it is not the case's own: what is FATAL to a log-in may be an ERROR to a session.
        `sqlstate` where PostgreSQL has given one.
        """
        return build_error_response(
            severity or self.severity,
            sqlstate or self.sqlstate,
            self.describe(**values),
            detail,
            self.hint.format(**values),
        )


def explain_trouble(trouble: str, server: str) -> tuple[Refusal, str | None, dict[str, str]]:
    """What a client is told whose pool's log-in at a server has failed: a refusal, its detail, its names' values.

    `trouble` is the SQLSTATE and PostgreSQL's words. That a database is not there is told in these: nothing is wrong
    with PostgreSQL, nor with how pgmux logs in.
    """
    sqlstate, _, problem = trouble.partition(": ")
    if sqlstate == Refusal.POSTGRESQL_HAS_NO_SUCH_DATABASE.sqlstate:
        return Refusal.POSTGRESQL_HAS_NO_SUCH_DATABASE, None, {"problem": problem}
    return Refusal.NO_POSTGRESQL, trouble, {"server": server}
