"""What is in force in a pgbouncer.ini.

Of several lines with one name PgBouncer takes the last, and a second [pgbouncer] begins anew: whatever the
first one said is back at its default.
"""

from pgmux.pgbouncer.budget import Budget, Demand, add_up
from pgmux.pgbouncer.ini import Kind, Line, parse_connect_string
from pgmux.pgbouncer.options import DATABASE, GLOBAL, read_list, read_number

DEFAULT_SOCKET_DIR = "/tmp"  # compiled into PgBouncer; packages name another in their ini


class InForce:
    """The settings of one ini, and what is worked out from several of them."""

    def __init__(self, lines: list[Line], users: int) -> None:
        """`users`: how many its auth_file names, at least 1."""
        self._users = users
        self._last: dict[tuple[str, str], Line] = {}
        for line in lines:
            if line.kind is Kind.SETTING:
                self._last[line.section, line.key] = line
            elif line.kind is Kind.SECTION and line.section == GLOBAL:
                self._last = {place: given for place, given in self._last.items() if place[0] != GLOBAL}

    def line(self, section: str, key: str) -> Line | None:
        """The line that counts, or None when there is none."""
        return self._last.get((section, key))

    def value(self, name: str, default: str = "") -> str:
        """An option of [pgbouncer]."""
        line = self.line(GLOBAL, name)
        return default if line is None else line.value

    def number(self, name: str, default: int = 0) -> int:
        """An option of [pgbouncer] that is a number; the default also where it is none."""
        return number(self.value(name), default)

    @property
    def socket_dir(self) -> str:
        """Where its Unix socket is, and where it seeks PostgreSQL's; "" for nowhere."""
        return self.value("unix_socket_dir", DEFAULT_SOCKET_DIR)

    def listens(self) -> list[str]:
        """Where it listens by TCP, in pgmux's spelling; PgBouncer listens nowhere by default."""
        port = self.number("listen_port", 6432)
        hosts = read_list(self.value("listen_addr"))
        return list(dict.fromkeys(f"{_spell_host(host)}:{port}" for host in hosts))

    def budget(self) -> Budget:
        """How many backends it could open, all databases together."""
        return add_up(self._demand(line) for (section, _), line in self._last.items() if section == DATABASE)

    def _demand(self, line: Line) -> Demand:
        try:
            pairs = dict(parse_connect_string(line.value))
        except ValueError:
            pairs = {}
        reserve = pairs.get("reserve_pool_size", pairs.get("reserve_pool", ""))
        return Demand(
            pool_size=number(pairs.get("pool_size", ""), self.number("default_pool_size", 20)),
            reserve=number(reserve, self.number("reserve_pool_size")),
            limit=number(pairs.get("max_db_connections", ""), self.number("max_db_connections")),
            pools=1 if "user" in pairs else self._users,
        )


def number(text: str, default: int) -> int:
    """The number that a text is, or the default where it is none."""
    try:
        return read_number(text)
    except ValueError:
        return default


def _spell_host(host: str) -> str:
    if host == "*":
        return ""
    return f"[{host}]" if ":" in host else host
