"""The body of `POST /containers/create` from the flags of `run` and `create`. Only what was asked for is sent."""

from wherry.cli.errors import CliError
from wherry.cli.options import mounts, networks, ports, process, resources
from wherry.cli.options.process import bad, invalid
from wherry.cli.options.table import UNBUILT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags


# Settings of the container's own namespaces besides net.* and fs.mqueue.* (namespaces(7)); others are the whole host's.
SYSCTLS = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"]
WINDOWS = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")


def refuse_unbuilt(flags: "Flags") -> None:
    """A known flag of docker that Wherry does not have yet says so."""
    for name in WINDOWS:
        if flags.given(name):
            raise CliError(f'"--{name}" is only supported by a daemon on Windows')
    for name, harmless in UNBUILT.items():
        value = str(flags.values[name]).lower() if flags.given(name) else harmless[0]
        if value not in harmless:
            raise bad(f"--{name}={value} is not built yet")


def create_body(
    flags: "Flags", image: str, args: "list[str]", detach: bool, console: "tuple[int, int]", proxies: "dict[str, str]"
) -> "dict[str, Any]":
    """`console`: rows and columns of the user's terminal, (0, 0) without one."""
    published = ports.publish(flags.items("publish"))
    binds, anonymous = mounts.volumes(flags.items("volume"))
    mode, endpoints = networks.endpoints(flags)
    body = process.config(flags, image, args, detach, proxies)
    body["ExposedPorts"] = ports.exposed(flags.items("expose"), published)
    body["Volumes"] = anonymous
    host = host_config(flags, mode)
    host["PortBindings"] = published
    host["Binds"] = binds
    host["ConsoleSize"] = list(console) if any(console) else None
    result = _given(body)
    result["HostConfig"] = _given(host)
    for field in ("MaskedPaths", "ReadonlyPaths"):
        if field in host:
            result["HostConfig"][field] = host[field]
    result["NetworkingConfig"] = {"EndpointsConfig": {name: _given(endpoint) for name, endpoint in endpoints.items()}}
    return result


def host_config(flags: "Flags", network_mode: str) -> "dict[str, Any]":
    _check_modes(flags)
    nodes, requests = resources.devices(flags)
    host: dict[str, Any] = {
        "NetworkMode": network_mode,
        "ContainerIDFile": flags.text("cidfile"),
        "AutoRemove": flags.on("rm"),
        "RestartPolicy": resources.restart_policy(flags.text("restart"), flags.on("rm")),
        "LogConfig": resources.logging(flags),
        "Privileged": flags.on("privileged"),
        "PublishAllPorts": flags.on("publish-all"),
        "ReadonlyRootfs": flags.on("read-only"),
        "Runtime": flags.text("runtime"),
        "Isolation": flags.text("isolation"),
        "VolumeDriver": flags.text("volume-driver"),
        "VolumesFrom": flags.items("volumes-from"),
        "Mounts": mounts.mounts(flags.items("mount")),
        "Tmpfs": mounts.tmpfs(flags.items("tmpfs")),
        "ShmSize": flags.number("shm-size"),
        "StorageOpt": _pairs_only(flags, "storage-opt"),
        "CapAdd": resources.capabilities(flags.items("cap-add")),
        "CapDrop": resources.capabilities(flags.items("cap-drop")),
        "GroupAdd": flags.items("group-add"),
        "Sysctls": _pairs_only(flags, "sysctl"),
        "Annotations": _pairs_only(flags, "annotation"),
        "CgroupParent": flags.text("cgroup-parent"),
        "CgroupnsMode": flags.text("cgroupns"),
        "IpcMode": flags.text("ipc"),
        "PidMode": flags.text("pid"),
        "UTSMode": flags.text("uts"),
        "UsernsMode": flags.text("userns"),
        "Devices": nodes,
        "DeviceRequests": requests,
        "DeviceCgroupRules": flags.items("device-cgroup-rule"),
        "Links": flags.items("link"),
        "ExtraHosts": networks.extra_hosts(flags),
        **networks.dns(flags),
        **resources.limits(flags),
        **resources.security(flags),
    }
    if flags.given("init"):
        host["Init"] = flags.on("init")
    return host


def _check_modes(flags: "Flags") -> None:
    """Names of namespaces that no daemon knows are refused here, as docker does."""
    kind, _, name = flags.text("pid").partition(":")
    if flags.text("pid") not in ("", "host") and (kind != "container" or not name):
        raise bad("--pid: invalid PID mode")
    for flag, what, allowed in (
        ("uts", "UTS", ("", "host")),
        ("userns", "USER", ("", "host")),
        ("cgroupns", "CGROUP", ("", "host", "private")),
    ):
        if flags.text(flag) not in allowed:
            raise bad(f"--{flag}: invalid {what} mode")


def _pairs_only(flags: "Flags", name: str) -> "dict[str, str]":
    for text in flags.items(name):
        key, equals, _ = text.partition("=")
        if name == "storage-opt" and not equals:
            raise bad("invalid storage option")
        if name == "sysctl" and not (key.removeprefix("kernel.") in SYSCTLS or key.startswith(("net.", "fs.mqueue."))):
            raise invalid("--sysctl", text, f"sysctl '{text}' is not allowed")
    return process.pairs(flags.items(name))


def _given(fields: "dict[str, Any]") -> "dict[str, Any]":
    """Without the fields that say nothing. False for Init and 0 for StopTimeout are said, so they stay."""
    keep = ("Init", "StopTimeout", "MemorySwappiness")
    return {name: value for name, value in fields.items() if name in keep or value not in (None, "", 0, False, [], {})}
