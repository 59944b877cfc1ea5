"""A run that is at work in the middle of its first step, for tests of how runs end."""

from __future__ import annotations

import psutil

from tests.flows.waiting import wait_until

FLOW = ("python", "-m", "flows", "run", "toy")
LIMIT_S = 60  # a few seconds on a machine that is not busy; without an end they would wait for minutes


def same(one: psutil.Process, other: psutil.Process) -> bool:
    return one.cmdline() == other.cmdline()


class Begun:
    """A command that has made the number one, and waits for two and three at their gates."""

    def __init__(self, yard, *command: str, **environment: str) -> None:
        self.yard = yard
        params = yard.root / "params.yaml"
        params.write_text(params.read_text().replace("gates: null", f"gates: {yard.gates('bad', 'one').name}"))
        self.process = yard.begin(*command, **environment)
        self.one, two = yard.root / "data/toy/collect/one", yard.root / "data/toy/collect/two.part"
        wait_until(lambda: (self.one.exists() and two.exists()) or self.process.poll() is not None, "the first number")
        if command == FLOW:
            wait_until(lambda: self.below(steps=False), "its workers", every_s=0.3)
        self.stamp = self.one.stat().st_mtime_ns
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def below(self, *, steps: bool) -> list[psutil.Process]:
        """The flow's step, or the workers of it: children of the fork server of the flow, which was forked from it, or
        of that of the step. The flow has another child there, without any of its own, which talks to MLflow."""
        level = [psutil.Process(self.process.pid)]
        try:
            for _ in range(1 if steps else 2):
                below = [(child, one) for one in level for child in one.children()]
                servers = [child for child, one in below if "forkserver" in str(child.cmdline()) or same(child, one)]
                level = [child for server in servers for child in server.children() if not steps or child.children()]
        except psutil.NoSuchProcess:  # one that ended while we looked
            return []
        return level

    def end(self) -> str:
        """What it said, once all of it has ended."""
        _, said = self.process.communicate(timeout=LIMIT_S)
        _, alive = psutil.wait_procs(self.family, timeout=LIMIT_S)
        assert not alive, f"left behind: {alive}"
        assert "Traceback" not in said and "retry" not in said.lower() and "leaked" not in said, said
        assert "Error logging" not in said, said
        return said

    def goes_on_to(self, finished, *command: str) -> None:
        self.yard.gates("two", "three")
        again = self.yard.call(*command)
        assert again.returncode == 0, again.stderr
        assert self.one.stat().st_mtime_ns == self.stamp
        same = {path: data for path, data in self.yard.outputs().items() if path.startswith("toy/collect")}
        assert same == {path: data for path, data in finished.outputs().items() if path.startswith("toy/collect")}
        if command == FLOW:
            assert self.yard.outputs() == finished.outputs()
