"""`version` and `info`: what this engine and this host are."""

from __future__ import annotations

import os
import platform
import threading
from functools import cache
from pathlib import Path
from typing import Any

from wherry import __version__
from wherry.cgroups import Resources
from wherry.daemon.daemon import Daemon
from wherry.daemon.identity import engine_id
from wherry.daemon.inspect import RUNTIME
from wherry.model.container import rfc3339
from wherry.model.version import NEWEST, OLDEST

#: Architectures as Go names them.
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}

#: Feature flags of `info`, and a limit that works only where the feature is there.
_FEATURES = {
    "MemoryLimit": Resources(memory=64 << 20), "SwapLimit": Resources(memory=64 << 20, memory_swap=128 << 20),
    "CpuCfsPeriod": Resources(cpu_period=100_000), "CpuCfsQuota": Resources(cpu_quota=100_000), "CPUShares": Resources(cpu_shares=512),
    "CPUSet": Resources(cpuset_cpus="0"), "PidsLimit": Resources(pids_limit=100),
    "OomKillDisable": Resources(memory=64 << 20, oom_kill_disable=True),
}


def go_arch() -> str:
    machine = platform.machine()
    return _GO_ARCH.get(machine, machine)


@cache
def version_json() -> dict[str, Any]:
    """The answer of `GET /version`."""
    kernel, arch, python = os.uname().release, go_arch(), platform.python_version()
    details = {"ApiVersion": str(NEWEST), "Arch": arch, "BuildTime": "", "Experimental": "false", "GitCommit": "", "GoVersion": "",
               "KernelVersion": kernel, "MinAPIVersion": str(OLDEST), "Os": "linux", "PythonVersion": python}
    return {
        "Platform": {"Name": "Wherry"},
        "Components": [{"Name": "Engine", "Version": __version__, "Details": details}],
        "Version": __version__,
        "ApiVersion": str(NEWEST),
        "MinAPIVersion": str(OLDEST),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": kernel,
        "BuildTime": "",
    }


def info_json(d: Daemon, now: int) -> dict[str, Any]:
    """The answer of `GET /info`; `now` in nanoseconds since the epoch."""
    containers = d.containers.all()
    running = sum(c.state.status in ("running", "restarting") for c in containers)
    paused = sum(c.state.paused for c in containers)
    system = os_release()
    return {
        "ID": engine_id(d.options.data_root),
        "Containers": len(containers),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(containers) - running - paused,
        "Images": len(d.images.list()),
        "Driver": d.driver.name,
        "DriverStatus": [list(pair) for pair in d.driver.status()],
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": None, "Log": ["json-file"]},
        **_features(d),
        "IPv4Forwarding": _read("/proc/sys/net/ipv4/ip_forward") == "1",
        "Debug": d.options.log_level == "debug",
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": threading.active_count(),
        "SystemTime": rfc3339(now),
        "LoggingDriver": d.options.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if d.cgroups.version == "v2" else "1",
        "NEventsListener": d.events.listeners,
        "KernelVersion": os.uname().release,
        "OperatingSystem": system.get("PRETTY_NAME", "Linux"),
        "OSVersion": system.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": platform.machine(),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {"IndexConfigs": {}, "InsecureRegistryCIDRs": [], "Mirrors": None},
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "GenericResources": None,
        "DockerRootDir": str(d.options.data_root),
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "",
        "Name": os.uname().nodename,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": __version__,
        "Runtimes": {RUNTIME: {"path": ""}},
        "DefaultRuntime": RUNTIME,
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "", "RemoteManagers": None},
        "LiveRestoreEnabled": d.options.live_restore,
        "Isolation": "",
        "InitBinary": d.options.init_path,
        "ContainerdCommit": {"ID": ""}, "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""},
        "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=cgroupns"] if d.cgroups.version == "v2" else [])],
        "FirewallBackend": {"Driver": d.bridge.firewall_backend},
        "CDISpecDirs": [],
        "Containerd": None,
        "Warnings": _warnings(d) or None,
    }


def _features(d: Daemon) -> dict[str, bool]:
    """What limits can be set on this host: exactly those that the cgroups room takes without a warning."""
    return {name: not _complaints(d, resources) for name, resources in _FEATURES.items()}


def _complaints(d: Daemon, resources: Resources) -> list[str]:
    return d.cgroups.warnings(resources)[1]


def _warnings(d: Daemon) -> list[str]:
    missing = [f"WARNING: No {name} support" for name, there in _features(d).items() if not there]
    return [*missing, *d.bridge.warnings]


@cache
def os_release() -> dict[str, str]:
    """os-release(5) of the host."""
    text = _read("/etc/os-release") or _read("/usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip("\"'") for key, _, value in pairs}


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
