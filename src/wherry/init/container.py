"""The init of a container: act 3 of the run flow. `container_main` is called in the process that clone3 made, and becomes the program."""

from __future__ import annotations

import os
from typing import NoReturn

from wherry.init import audit, console, devices, masks, procfs, program, report, rootfs, user
from wherry.init.finalize import finalize
from wherry.init.syncpipe import SyncPipe
from wherry.linux import rtnetlink
from wherry.linux.process import CLONE_NEWCGROUP, PR_SET_DUMPABLE, prctl, unshare
from wherry.linux.session import join_new_keyring, setdomainname, sethostname
from wherry.model.command import Command
from wherry.model.steps import step


def container_main(command: Command, fds: list[int], pipe: SyncPipe) -> NoReturn:
    """PID 1 of a container: `command` with its descriptors `fds`, the sync pipe to the monitor. Never returns.

    The caller cloned this process into the new namespaces and its cgroups, and without a terminal put the pipes on 0, 1, 2."""
    report.run(pipe, lambda: _become(command, fds, pipe))


def _become(command: Command, fds: list[int], pipe: SyncPipe) -> None:
    process = command.process
    with step("init: namespaces"):
        # Nothing in the container may look into us before execve.
        prctl(PR_SET_DUMPABLE, 0)
        os.umask(0)
        report.join(command.namespaces, fds)
        if command.namespaces.cgroup == "new":
            # The root of the new one is the group that this process is in: it entered its groups before.
            unshare(CLONE_NEWCGROUP)
    root = build_mounts(command, fds)
    proc, slave = root.proc, -1
    if process.tty:
        with step("init: console"):
            slave = console.open_terminal(root.fd, pipe, process.console_size)
            if rootfs.has_own_dev(command):
                console.bind_console(root.fd, slave)
    with step("init: masked paths"):
        masks.mask(root.fd, command.masked_paths, root.null)
    with step("init: read-only paths"):
        masks.make_readonly(root.fd, command.readonly_paths)
    with step("init: pivot_root"):
        rootfs.enter_root(root.fd)
        rootfs.set_root_flags(root.fd, command.readonly_rootfs, command.rootfs_propagation)
        audit.entered()
    with step("init: hostname"):
        _name_host(command)
    if process.oom_score_adj:
        with step("init: oom_score_adj"):
            procfs.set_oom_score_adj(proc, process.oom_score_adj)
    with step("init: session"):
        console.start_session(slave)
        join_new_keyring()
    with step("init: look up user"):
        who = user.lookup(root.fd, process.user, process.group_add)
    # The monitor has made the veth meanwhile (ADR 0040); a sysctl may name the interface.
    finish_network(command, fds, proc, pipe)
    with step("init: sysctls"):
        own_net, own_ipc = command.namespaces.net == "new", command.namespaces.ipc == "new"
        if own_net:
            set_network_sysctls(proc)
        procfs.set_sysctls(proc, command.sysctls, own_net=command.namespaces.net != "host", own_ipc=own_ipc)
    with step("init: wait for Go"):
        pipe.wait_go()
    finalize(process, who, root.fd)
    argv = [program.TINI, "--", *process.argv] if process.init else list(process.argv)
    report.ready_and_execute(pipe, argv, program.environment(process.env, who.home))


class _Root:
    """The descriptors that the init works with once the mounts are there."""

    __slots__ = ("fd", "null", "proc")

    def __init__(self, fd: int, null: int, proc: int) -> None:
        self.fd, self.null, self.proc = fd, null, proc


def build_mounts(command: Command, fds: list[int]) -> _Root:
    """Initialize the mount namespace, up to the masks."""
    fd = fds[command.rootfs]
    with step("init: private propagation"):
        null = masks.open_null()
        rootfs.make_private()
    with step("init: private procfs"):
        proc = procfs.open_private()
    with step("init: attach root"):
        rootfs.attach_root(fd)
    rootfs.mount_all(fd, command, fds)
    with step("init: devices"):
        if rootfs.has_own_dev(command):
            devices.add_devices(fd, command.devices)
    with step("init: make working directory"):
        rootfs.make_cwd(fd, command.process.cwd)
    return _Root(fd, null, proc)


def finish_network(command: Command, fds: list[int], proc: int, pipe: SyncPipe) -> None:
    """Waits for `Network(state)`, then lo, address and route. A namespace of somebody else is left as it is."""
    with step("init: wait for Network"):
        network = pipe.wait_network()
    if command.namespaces.net != "new":
        return
    with step("init: network"):
        if not network.name:
            rtnetlink.loopback_up()
            return
        if not network.ipv6:
            procfs.write_if_there(proc, f"sys/net/ipv6/conf/{network.name}/disable_ipv6", "1")
        rtnetlink.configure(network.name, network.address, network.prefix_len, network.gateway)
    if network.host >= 0:
        with step("init: link carries packets"), rtnetlink.Rtnetlink(fds[network.host]) as host:
            host.settle([network.veth, network.bridge])


def set_network_sysctls(proc: int) -> None:
    """Ports below 1024 and ping for every user of the container, as Docker sets them; ip_sysctl documentation of the kernel."""
    procfs.write(proc, "sys/net/ipv4/ip_unprivileged_port_start", "0")
    procfs.write(proc, "sys/net/ipv4/ping_group_range", "0 2147483647")


def _name_host(command: Command) -> None:
    if command.namespaces.uts != "new":
        return
    if command.hostname:
        sethostname(command.hostname)
    if command.domainname:
        setdomainname(command.domainname)
