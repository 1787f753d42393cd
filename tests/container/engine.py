"""A container engine, docker's or podman's, through the docker SDK: the image built from the tree, and run.

DOCKER_HOST says where the engine is; otherwise it is looked for where docker and podman listen. Where its base
image is neither here nor to be pulled, debootstrap makes one of Debian's packages: it trusts whatever
certificates this machine trusts, as it reaches the package registries the same way.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound, NotFound

from tests.servers.waiting import wait_until

ROOT = Path(__file__).parents[2]
IMAGE = "pgmux-test"
_DEBIAN, _DEBIANS_BASE = "trixie", "pgmux-test-base"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock", f"/run/user/{os.getuid()}/podman/podman.sock")
_TIMEOUT_S = 600


class NoEngineError(Exception):
    """Nothing can be built or run here; the text says why."""


class Container:
    """A container that was started."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def log(self) -> str:
        """What it has said so far."""
        return str(self._container.logs().decode())

    def run(self, *command: str) -> str:
        """What a command says within. Raises AssertionError when it fails."""
        code, said = self._container.exec_run(list(command))
        assert code == 0, said.decode()
        return str(said.decode())

    def health(self) -> str:
        """What the engine's own health checks have found: starting, healthy or unhealthy."""
        self._container.reload()
        return str(self._container.attrs["State"]["Health"]["Status"])

    def wait_for_log(self, words: str) -> None:
        """Until it has said that."""
        wait_until(lambda: words in self.log(), what=f"{words!r} in the log", timeout=60.0)

    def stop(self, patience_s: int) -> int:
        """SIGTERM, and SIGKILL when it takes longer. Gives the exit status."""
        self._container.stop(timeout=patience_s)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, for all its processes at once."""
        self._container.kill()
        self.wait()

    def start(self) -> None:
        """Once more."""
        self._container.start()

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        return int(self._container.wait(timeout=_TIMEOUT_S)["StatusCode"])


class Engine:
    """An engine that has built the image."""

    def __init__(self) -> None:
        """Raises NoEngineError where there is none, or no base for the image."""
        self._client = _connect()
        self._client.images.build(
            path=str(ROOT),
            dockerfile="Containerfile",
            buildargs={"BASE": self._find_base()},
            tag=IMAGE,
            rm=True,
            timeout=_TIMEOUT_S,
        )

    def close(self) -> None:
        """Let go of the engine; images stay."""
        self._client.close()

    @contextmanager
    def run(
        self, *command: str, files: Mapping[str, Path], environ: Mapping[str, str], **options: Any
    ) -> Iterator[Container]:
        """A container of the image in this machine's network, hardened as the manifests say. `files`: by their
        path within."""
        most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        container = self._client.containers.run(
            IMAGE,
            list(command) or None,
            detach=True,
            network_mode="host",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            environment=dict(environ),
            volumes={str(path): {"bind": place, "mode": "ro"} for place, path in files.items()},
            ulimits=[docker.types.Ulimit(name="nofile", soft=1024, hard=most_files)],
            **options,
        )
        try:
            yield Container(container)
        finally:
            with suppress(NotFound):
                container.remove(force=True)

    @contextmanager
    def memory(self) -> Iterator[dict[str, Any]]:
        """A volume in memory at /dev/shm that outlives a container's end: options for `run`."""
        volume = self._client.volumes.create(
            driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "mode=1777"}
        )
        try:
            yield {"mounts": [docker.types.Mount("/dev/shm", volume.name)]}
        finally:
            volume.remove(force=True)

    def _find_base(self) -> str:
        """The image to build from: the Containerfile's own, where it can be had."""
        [own] = re.findall(r"^ARG BASE=(.+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
        for base in (own, _DEBIANS_BASE):
            with suppress(ImageNotFound):
                return str(self._client.images.get(base).tags[0])
        with suppress(DockerException):
            return str(self._client.images.pull(own).tags[0])
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise NoEngineError(f"{own} cannot be pulled, and debootstrap, as root, is not at hand either")
        return self._make_base()

    def _make_base(self) -> str:
        with tempfile.TemporaryDirectory(prefix="pgmux-debian-") as folder:
            system = Path(folder) / "system"
            command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", _DEBIAN, str(system)]
            made = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
            if made.returncode:
                raise NoEngineError(f"debootstrap failed: {made.stdout[-500:]}{made.stderr[-500:]}")
            shutil.copy(_CERTIFICATES, system / _CERTIFICATES.relative_to("/"))
            archive = Path(folder) / "system.tar"
            subprocess.run(["tar", "-C", str(system), "-cf", str(archive), "."], check=True)
            self._client.api.import_image_from_file(
                str(archive), repository=_DEBIANS_BASE, changes=[f"ENV PIP_CERT={_CERTIFICATES}"]
            )
        return _DEBIANS_BASE


def _connect() -> Any:
    places = [os.environ.get("DOCKER_HOST", "")]
    if not places[0]:
        places = [f"unix://{socket}" for socket in _SOCKETS if Path(socket).is_socket()]
    for place in places:
        with suppress(DockerException, OSError):
            client = docker.DockerClient(base_url=place, timeout=_TIMEOUT_S)
            client.ping()
            return client
    raise NoEngineError(f"no container engine answers at {', '.join(places) or ' or '.join(_SOCKETS)}")
