"""The launcher (zygote): a small single-threaded process whose forks are the monitors.

Started by wherryd as `python -m wherry.execdriver.launcher FD EXEC_ROOT`. It has everything imported and frozen, lives in a private mount
namespace with next to nothing in it, and is a child subreaper: the init of a monitor that died is reaped and reported here.
It ends when wherryd is gone and no monitor is left.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple, NoReturn

from wherry import cgroups
from wherry.execdriver import messages, native
from wherry.execdriver.monitor import monitor_main
from wherry.init import audit
from wherry.linux import mount, process
from wherry.model.steps import set_process, step
from wherry.network.proxy import proxy_main

SEALED = "WHERRY_LAUNCHER_SEALED"


class Child(NamedTuple):
    """A monitor: its key, and once it is assigned the directory of its run (or exec)."""

    key: int
    exec_dir: int = -1


def reexec_from_memfd() -> None:
    """Runs on from a sealed copy of the interpreter, so that /proc/self/exe of what enters a container is no file of the host (R5)."""
    fd = os.memfd_create("wherry-launcher", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(os.path.realpath(sys.executable), "rb") as source:
        size = os.fstat(source.fileno()).st_size
        sent = 0
        while sent < size:
            sent += os.sendfile(fd, source.fileno(), sent, size - sent)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    os.execve(fd, [sys.executable, "-P", "-m", "wherry.execdriver.launcher", *sys.argv[1:]], {**os.environ, SEALED: "1"})


def enter_small_room(exec_root: str) -> None:
    """Leaves the host's mount tree for a tmpfs with /proc, /dev/null and the cgroup trees (mount_namespaces(7)).

    A clone copies its parent's mount tree: with this one its cost does not depend on how many mounts the host has, and no mount of the host
    is pinned by a running monitor."""
    process.unshare(process.CLONE_NEWNS)
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    room = Path(exec_root) / "launcher"
    room.mkdir(mode=0o700, exist_ok=True)
    cgroup_tree = mount.open_tree("/sys/fs/cgroup", recursive=True) if os.path.ismount("/sys/fs/cgroup") else -1
    proc_tree = mount.new_mount("proc")
    null = mount.open_tree("/dev/null")
    root = mount.new_mount("tmpfs", {"mode": "0700", "size": "1m"})
    mount.move_mount_to(root, str(room))
    os.close(root)
    for directory in ("proc", "dev", "sys/fs/cgroup"):
        (room / directory).mkdir(parents=True)
    (room / "dev/null").touch()
    for fd, target in ((proc_tree, "proc"), (null, "dev/null"), (cgroup_tree, "sys/fs/cgroup")):
        if fd >= 0:
            mount.move_mount_to(fd, str(room / target))
            os.close(fd)
    os.chdir(room)
    process.pivot_root(".", ".")
    mount.umount(".", mount.MNT_DETACH)
    os.chdir("/")


class Launcher:
    """The loop: requests from wherryd, ends of children."""

    def __init__(self, control: socket.socket) -> None:
        self.control: socket.socket | None = control
        self.children: dict[int, Child] = {}
        self.orphans: dict[int, Child] = {}  # inits whose monitor died
        self.proxy = -1
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.trees = cgroups.detect()
        self.wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.wake_write = wake_write

    def run(self) -> None:
        """Until wherryd is gone and nobody is left to look after."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        assert self.control is not None
        poll.register(self.control.fileno(), select.POLLIN)
        messages.send(self.control, {"event": "ready"})
        while self.control is not None or self.children or self.orphans:
            for fd, _ in poll.poll():
                if fd == self.wake:
                    os.read(self.wake, 4096)
                    self._reap()
                elif self.control is not None:
                    received = messages.receive(self.control)
                    if received is None:
                        poll.unregister(fd)
                        self.control.close()
                        self.control = None
                    else:
                        self._request(*received)

    def _request(self, message: dict[str, Any], fds: list[int]) -> None:
        """Forks a monitor or the proxy, or learns what a monitor is used for. A fork that fails (a full pids limit) is the failure of one
        start, not the launcher's end."""
        if message["op"] == "assign":
            with step("launcher: assign"):
                self._assign(message, fds[0])
            return
        try:
            with step(f"launcher: {message['op']}"):
                pid = os.fork()
                if pid == 0:
                    try:
                        self._child(message, fds)
                    finally:
                        os._exit(70)  # whatever fails in it: never on as a second launcher
        except OSError as error:
            if message["op"] == "monitor":
                _refuse(fds[0], error)
            return
        finally:
            for fd in fds:
                os.close(fd)
        if message["op"] == "proxy":
            self.proxy = pid
        else:
            self.children[pid] = Child(message["key"])

    def _assign(self, message: dict[str, Any], exec_dir: int) -> None:
        for pid, child in self.children.items():
            if child.key == message["key"]:
                self.children[pid] = Child(child.key, exec_dir)
                return
        os.close(exec_dir)  # it died meanwhile, before it did anything

    def _child(self, message: dict[str, Any], fds: list[int]) -> NoReturn:
        """In the fork: nothing of the launcher's is kept."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self.control is not None:
            self.control.close()
        for fd in (self.wake, self.wake_write, *(c.exec_dir for c in (*self.children.values(), *self.orphans.values()))):
            if fd >= 0:
                os.close(fd)
        control = socket.socket(fileno=fds[0])
        if message["op"] == "proxy":
            os.fchdir(fds[1])  # the exec root, which this mount namespace has no path to
            proxy_main(control, message["facts"])
        monitor_main(control, self.null, self.trees)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.proxy:
                self.proxy = -1  # its client notices by itself
            elif pid in self.children:
                self._monitor_ended(self.children.pop(pid), status)
            elif pid in self.orphans:
                self._orphan_ended(self.orphans.pop(pid), status)

    def _monitor_ended(self, child: Child, status: int) -> None:
        """After an orderly end all is recorded, and perhaps forgotten already; otherwise the init is ours now: its streams are gone, so it
        is ended."""
        if child.exec_dir < 0:
            return
        state = native.read_state(child.exec_dir) if status != 0 else None
        if state is None or native.read_exit(child.exec_dir) is not None:
            os.close(child.exec_dir)
            return
        pid = int(state["pid"])
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._orphan_ended(child, None)
            return
        self.orphans[pid] = child
        os.kill(pid, signal.SIGKILL)

    def _orphan_ended(self, child: Child, status: int | None) -> None:
        """wherryd hears that the monitor's connection ended, and waits for this record."""
        code = os.waitstatus_to_exitcode(status) if status is not None else 137
        record = {"version": 1, "code": code if code >= 0 else 128 - code, "at": time_ns(), "oom": False,
                  "error": "the container's monitor process died, so the container was ended"}
        try:
            native.write_json(child.exec_dir, "exit.json", record)
        except FileNotFoundError:
            pass  # wherryd has recorded this end and removed the directory
        except OSError as error:
            print(f"wherry-launcher: exit.json cannot be written: {error}", file=sys.stderr, flush=True)
        os.close(child.exec_dir)


def _refuse(fd: int, error: OSError) -> None:
    """No process can be made (the pids limit): said in the monitor's place, on its own control connection."""
    text = f"{error.strerror}: no process can be made: the limit of processes (pids.max of wherryd's cgroup, ulimit -u) is reached"
    event = {"event": "failed", "step": "launcher: monitor", "errno": error.errno or 0, "path": "", "message": text, "spans": []}
    control = socket.socket(fileno=os.dup(fd))
    try:
        messages.send(control, event)
    except OSError:
        pass  # wherryd is gone
    finally:
        control.close()


def main() -> None:
    """Entry point of the process."""
    if SEALED not in os.environ:
        reexec_from_memfd()
    del os.environ[SEALED]
    set_process("launcher")
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    process.set_name("wherry-launcher")
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    process.prctl(process.PR_SET_DUMPABLE, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    with step("launcher: mount namespace"):
        enter_small_room(sys.argv[2])
    launcher = Launcher(control)
    process.boot_id()  # read once, for all monitors
    if os.environ.get("WHERRY_AUDIT"):
        audit.install()  # tests: R5 holds in every init from here
    gc.collect()
    gc.freeze()
    launcher.run()


if __name__ == "__main__":
    main()
