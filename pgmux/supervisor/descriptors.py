"""Open files: as many as the configuration may need, or a refusal to start that says how many.

Any one worker may come to hold every client there may be, and each holds all backends. Better no start
than a pgmux that runs until it is busy. See getrlimit(2), RLIMIT_NOFILE.
"""

import resource

from pgmux.config import Config
from pgmux.errors import PgmuxError
from pgmux.shm.segment import SPARE_CLIENTS

TO_SPARE = 200  # log, libraries, epolls, cancel requests, log-ins to PostgreSQL that are under way
PER_WORKER = 10  # two mailboxes and two landings of two ends, a bell, its Unix or control socket


def descriptors_needed(config: Config) -> int:
    """How many open files one process of this pgmux may need."""
    settings = config.pgmux
    shared = config.worker_count() * (PER_WORKER + len(settings.listen))
    return settings.max_client_conn + SPARE_CLIENTS + settings.max_backends + shared + TO_SPARE


def raise_descriptor_limit(config: Config) -> None:
    """See to it that so many may be open. Raises PgmuxError when the system does not allow it."""
    needed = descriptors_needed(config)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard if _is_enough(hard, needed) else needed))
    except (OSError, ValueError):
        possible = max(config.pgmux.max_client_conn - (needed - hard), 0)
        raise PgmuxError(
            f"{needed} open files may be needed (max_client_conn = {config.pgmux.max_client_conn}, "
            f"max_backends = {config.pgmux.max_backends}), but at most {hard} are allowed: "
            f"raise the limit (LimitNOFILE={needed}, ulimit -Hn {needed})"
            + (f", or lower max_client_conn to {possible}" if possible else "")
        ) from None


def _is_enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
