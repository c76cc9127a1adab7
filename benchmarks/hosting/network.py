"""Hosts made of network namespaces: each has its own loopback interface, and a link to a switch that can go down."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from shutil import which

_SWITCH = "biam-switch"
_NET = "10.77.0"


@dataclass(frozen=True)
class Host:
    """A host.

    Attributes:
        name: of its namespace.
        address: on the network of all hosts.
    """

    name: str
    address: str

    def inside(self, *command: str) -> list[str]:
        """A command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *command]

    def link(self, state: str) -> None:
        """Take its link `up` or `down`."""
        _ip("-n", self.name, "link", "set", "eth0", state)


def impossible() -> str | None:
    """Why there can be no hosts here; None where there can."""
    if os.geteuid() != 0 or which("ip") is None:
        return "network namespaces want root and the command ip (Debian: iproute2)"
    made = subprocess.run(["ip", "netns", "add", "biam-trial"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", "biam-trial"], capture_output=True)
    return None if made.returncode == 0 else f"this system makes no network namespaces: {made.stderr.strip()}"


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts, gone after the block."""
    with ExitStack() as stack:
        _namespace(stack, _SWITCH)
        _ip("-n", _SWITCH, "link", "add", "switch", "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", "switch", "up")
        made = []
        for number in range(1, count + 1):
            host = Host(f"biam-host-{number}", f"{_NET}.{number}")
            _namespace(stack, host.name)
            port = f"port{number}"
            _ip("-n", _SWITCH, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("-n", _SWITCH, "link", "set", port, "master", "switch", "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", host.name, "link", "set", interface, "up")
            made.append(host)
        yield made


def _namespace(stack: ExitStack, name: str) -> None:
    subprocess.run(["ip", "netns", "del", name], capture_output=True)  # left by a benchmark that was killed
    _ip("netns", "add", name)
    stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
