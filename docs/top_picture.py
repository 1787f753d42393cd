"""Makes docs/top.svg: `pgmux top` over a PostgreSQL, a pgmux and some pgbenches that run for it alone."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pgmux.top.app import TopApp
from pgmux.top.observer import Observer
from pgmux.top.steering import Steering
from tests.servers import Pgmux, Postgres

SIZE = (180, 44)  # of the terminal, columns and lines
SECONDS = 8.0  # of load before the picture is taken
LOADS = {  # application: database, user, clients, what each does
    "checkout": ("app", "app", 14, "BEGIN;\nSELECT 1;\nSELECT pg_sleep(0.002);\nEND;\n"),
    "catalogue": ("app", "app", 20, "\\sleep 20 ms\nSELECT 1;\n"),
    "ledger": ("billing", "postgres", 6, "\\sleep 30 ms\nBEGIN;\nSELECT pg_sleep(0.01);\nEND;\n"),
    "reports": ("analytics", "postgres", 5, "\\sleep 200 ms\nSELECT pg_sleep(0.4);\n"),
    "sessions": ("identity", "app", 12, "\\sleep 10 ms\nSELECT 1;\n"),
}


@contextmanager
def under_load(postgres: Postgres, pgmux: Pgmux) -> Iterator[None]:
    """All loads at once."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for application, (database, user, clients, script) in LOADS.items():
            path = Path(folder, f"{application}.sql")
            path.write_text(script)
            place = ["-h", pgmux.host, "-p", str(pgmux.port), "-U", user, database]
            options = ["-n", "-f", str(path), "-c", str(clients), "-T", "600"]
            process = subprocess.Popen(
                [str(postgres.bin("pgbench")), *options, *place],
                env={**os.environ, "PGAPPNAME": application},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield


async def take_picture(pgmux: Pgmux, path: str) -> None:
    """The view after some seconds, as an SVG."""
    runtime_dir = pgmux.folder / "run"
    app = TopApp(Observer(str(runtime_dir / "pgmux.shm")), Steering(str(runtime_dir / "control.sock")), 0.5)
    async with app.run_test(size=SIZE):
        await asyncio.sleep(SECONDS)
        picture = app.export_screenshot()
    # The reader's own font will do: a picture in a README loads nothing from elsewhere.
    Path(path).write_text(re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL) + "\n")


def _databases(postgres: Postgres) -> dict[str, dict[str, str | int]]:
    """Any name leads to `postgres`; reports have few backends, so that some wait."""
    place: dict[str, str | int] = {"host": str(postgres.socket_dir), "port": postgres.port}
    return {"*": place, "analytics": {**place, "pool_size": 2}}


def main(path: str) -> None:
    """Run everything, and write the picture."""
    with Postgres(None, {"max_connections": 120}) as postgres:
        for database in ("billing", "analytics", "identity"):
            postgres.sql(f"CREATE DATABASE {database}")
        with Pgmux(
            postgres, workers=4, default_pool_size=6, max_backends=24, databases=_databases(postgres)
        ) as pgmux:
            with (
                pgmux.connect(application_name="migration") as forgotten,
                pgmux.connect(application_name="importer") as importer,
                under_load(postgres, pgmux),
            ):
                forgotten.execute("BEGIN; SELECT 1")
                importer.execute("CREATE TEMPORARY TABLE staged (n int)")
                asyncio.run(take_picture(pgmux, os.path.abspath(path)))


if __name__ == "__main__":
    main(sys.argv[1])
