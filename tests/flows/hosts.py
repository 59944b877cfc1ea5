"""Another host on this machine: a network namespace with its own address and loopback, on a cable that can be pulled,
and a mount namespace that does not see a folder of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.conftest import Yard


@dataclass(frozen=True)
class Cable:
    """Between this host, at `here`, and the other one, at `there`."""

    name: str
    here: str
    there: str
    inside: tuple[str, ...]  # begins a command of the other host

    def pull(self) -> None:
        _call("ip", "link", "set", self.name, "down")

    def plug(self) -> None:
        _call("ip", "link", "set", self.name, "up")

    def reaches(self, port: int) -> bool:
        """Does the other host reach a port of this one?"""
        asked = f"import socket; socket.create_connection(('{self.here}', {port}), 2)"
        return subprocess.run([*self.inside, "python3", "-c", asked], stderr=subprocess.DEVNULL).returncode == 0


@dataclass
class Far(Yard):
    """A yard on the other host."""

    cable: Cable | None = None

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        there = ("sh", "-c", 'cd "$0" && exec "$@"', str(self.root))  # entering a namespace leaves the folder
        return super().start(*self.cable.inside, *there, *command, **environment)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def another_host(hidden: Path) -> Iterator[Cable]:
    """It sees all of this disk but the folder `hidden`. Skips the test where this user may make no namespaces."""
    alone = f"mount -t tmpfs none '{hidden}' && ip link set lo up && echo ready && exec sleep infinity"
    try:
        holder = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", alone], stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare here: util-linux")
    try:
        if holder.stdout.readline() != "ready\n":
            pytest.skip("no namespaces of network and mounts for this user, or no `ip`")
        number = os.getpid()  # test processes side by side have addresses of their own
        name, place = f"yard{number % 10**7}", f"10.{200 + number // 16384 % 50}.{number // 64 % 256}"
        here, there = f"{place}.{4 * (number % 64) + 1}", f"{place}.{4 * (number % 64) + 2}"
        inside = ("nsenter", "--target", str(holder.pid), "--net", "--mount")
        _call("ip", "link", "add", name, "type", "veth", "peer", "name", "cable", "netns", str(holder.pid))
        try:
            _call("ip", "addr", "add", f"{here}/30", "dev", name)
            _call("ip", "link", "set", name, "up")
            _call(*inside, "ip", "addr", "add", f"{there}/30", "dev", "cable")
            _call(*inside, "ip", "link", "set", "cable", "up")
            yield Cable(name, here, there, inside)
        finally:
            _call("ip", "link", "del", name)
    finally:
        holder.kill()
        holder.communicate()
