"""A stand-in for `pgmux run -c FILE`, made of PgBouncers, so that what runs pgmux can be tested without it.

One supervisor reads pgmux.toml and starts a PgBouncer per worker, all on one port by so_reuseport. It cannot
share backends between them: each gets its part of max_backends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import FrameType
from typing import Any

PGBOUNCER = "/usr/sbin/pgbouncer"


def main() -> int:
    config = tomllib.loads(Path(sys.argv[sys.argv.index("-c") + 1]).read_text())
    settings = config["pgmux"]
    workers = [_start_worker(number, config) for number in range(settings["workers"])]

    def stop(number: int, frame: FrameType | None) -> None:
        for worker in workers:
            worker.send_signal(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(each, stop)
    print("ready", file=sys.stderr, flush=True)
    return max(abs(worker.wait()) for worker in workers)


def _start_worker(number: int, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    folder = Path(config["pgmux"]["runtime_dir"])
    folder.mkdir(exist_ok=True)
    path = folder / f"pgbouncer-{number}.ini"
    path.write_text(_ini(config))
    account = ["-u", "postgres"] if os.geteuid() == 0 else []
    return subprocess.Popen([PGBOUNCER, "-q", *account, str(path)])


def _ini(config: dict[str, Any]) -> str:
    settings = config["pgmux"]
    databases = [
        f"{name} = host={each['host']} port={each['port']}" for name, each in config["databases"].items()
    ]
    host, port = settings["listen"][0].rsplit(":", 1)
    pool_size = max(1, settings.get("default_pool_size", 20) // settings["workers"])
    return "\n".join(
        [
            "[databases]",
            *databases,
            "[pgbouncer]",
            f"listen_addr = {host}",
            f"listen_port = {port}",
            "unix_socket_dir =",
            "so_reuseport = 1",
            "auth_type = trust",
            f"auth_file = {_auth_file(config)}",
            "pool_mode = transaction",
            "max_client_conn = 2000",
            f"default_pool_size = {pool_size}",
            "ignore_startup_parameters = extra_float_digits",
            "",
        ]
    )


def _auth_file(config: dict[str, Any]) -> Path:
    """PgBouncer's trust wants the user to be listed."""
    path = Path(config["pgmux"]["runtime_dir"]) / "users.txt"
    path.write_text("".join(f'"{name}" ""\n' for name in ("app", "postgres", *config.get("users", {}))))
    return path


if __name__ == "__main__":
    sys.exit(main())
