"""Network namespaces for tests: each is a thread that left the host's network, so that real code runs in it in this very process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from wherry.linux import process, rtnetlink


class Namespace:
    """`run(call, ...)` runs a function inside; `spawn(code)` starts a Python program inside. Close it: the kernel removes all links."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.fd = self.run(self._enter)
        self._children: list[subprocess.Popen] = []

    @staticmethod
    def _enter() -> int:
        process.unshare(process.CLONE_NEWNET)
        rtnetlink.loopback_up()
        return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, call, *args, **kwargs):
        return self._thread.submit(call, *args, **kwargs).result(60)

    def spawn(self, code: str, *args: str) -> subprocess.Popen:
        """A child of the thread is born in the thread's namespace. Its standard output is a pipe."""
        child = self.run(subprocess.Popen, [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True)
        self._children.append(child)
        return child

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            child.stdout.close()
        self._thread.shutdown()
        os.close(self.fd)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def wire(left: Namespace, left_name: str, left_address: str, right: Namespace, right_name: str, right_address: str, prefix_len: int) -> None:
    """A cable between two namespaces, with an address at each end."""

    def make() -> None:
        with rtnetlink.Rtnetlink() as kernel:
            kernel.batch(rtnetlink.veth_add(left_name, right_name, peer_netns=right.fd))

    left.run(make)
    left.run(rtnetlink.configure, left_name, left_address, prefix_len, "")
    right.run(rtnetlink.configure, right_name, right_address, prefix_len, "")


def connect_veth(veth: str, bridge: str, *, pid: int = 0, netns: int = -1, peer: str = "eth0", mac: str = "", mtu: int = 0) -> None:
    """What the monitor does for a container: `veth` as a port of `bridge`, its other end in the namespace of `pid` or `netns`."""
    with rtnetlink.Rtnetlink() as kernel:
        master = kernel.link(bridge).index
        kernel.batch(rtnetlink.veth_add(veth, peer, peer_pid=pid, peer_netns=netns, peer_mac=mac, mtu=mtu, master=master))
