"""Which configuration is in force: the file's, with what SET has changed since it was read.

The supervisor alone decides that, and writes it on the board; workers are told by an errand, and read the
same file and the same changes. A file or a change that is wrong changes nothing.
"""

import contextlib
import logging

from pgmux.config import Config, reload
from pgmux.config.changes import change_all, note_change
from pgmux.session.ticket_keys import TicketKeys
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand
from pgmux.worker.entrance import open_doors
from pgmux.worker.journal import open_log
from pgmux.worker.tenants import names_of
from pgmux.worker.tls import open_tls


class Configuring:
    """The configuration in force, and how another comes in its place."""

    def __init__(self, config: Config, pools: Pools, mock_key: bytes, ticket_keys: TicketKeys) -> None:
        self.config = config
        self._loaded = config  # without what SET has changed
        self._changes = ""
        self._pools = pools
        self._mock_key = mock_key
        self._ticket_keys = ticket_keys
        self._log = logging.getLogger("supervisor")

    def reload(self) -> None:
        """Read the file again, and forget what SET has changed. Raises PgmuxError, and nothing is changed."""
        config, waiting = reload(self._loaded)
        self._try_out(config)
        for warning in config.warnings:
            self._log.warning("%s", warning)
        self._loaded, self._changes = config, ""
        self._put_in_force(config, is_reload=True)
        self._log.info("reloaded%s", f"; these wait for a restart: {', '.join(waiting)}" if waiting else "")

    def follow(self, changes: str, *, is_reload: bool) -> None:
        """Go by what another supervisor has put in force. Raises PgmuxError, and nothing is changed."""
        loaded = reload(self._loaded)[0] if is_reload else self._loaded
        config = change_all(loaded, changes)
        self._try_out(config)
        self._loaded, self._changes = loaded, changes
        self._put_in_force(config, is_reload=is_reload)

    def set(self, change: str) -> None:
        """Make one change, "key=value", until the next reload. Raises PgmuxError, and nothing is changed."""
        key, _, text = change.partition("=")
        changes = note_change(self._changes, key, text)
        config = change_all(self._loaded, changes)
        self._try_out(config)
        self._changes = changes
        self._put_in_force(config, is_reload=False)
        self._log.info("SET %s = %s", key, text)

    def _try_out(self, config: Config) -> None:
        """Workers will open what it names. Raises PgmuxError."""
        open_doors(config, self._mock_key)
        open_tls(config, self._ticket_keys)

    def _put_in_force(self, config: Config, *, is_reload: bool) -> None:
        self._pools.board.publish(self._changes.encode(), is_reload)
        self.config = config
        open_log(config.pgmux.log_level, config.pgmux.log_format)
        for number in self._pools.tenancies.pools():
            pool = self._pools.read(number)
            if pool is None:
                continue
            with contextlib.suppress(KeyError):  # its database is gone: its backends end when they are old
                settings = config.settings_of_pool(*names_of(pool))
                self._pools.resize(number, settings.pool_size, settings.max_backends)
        self._pools.workers.send_all_on_errand(Errand.RELOAD | Errand.OPEN_BACKENDS)
