"""Servers that a test starts, spoken of in the words of the domain: PostgreSQL, pgmux, and a proxy between
two.
"""

from tests.servers.log import Log
from tests.servers.pgmux import Pgmux
from tests.servers.postgres import PASSWORDS, Postgres
from tests.servers.proxy import Proxy
from tests.servers.waiting import wait_until

__all__ = ["PASSWORDS", "Log", "Pgmux", "Postgres", "Proxy", "wait_until"]
