"""Which cgroup trees this host has mounted: read from /proc/self/mountinfo (proc_pid_mountinfo(5)), pure data."""

from typing import NamedTuple

V1_CONTROLLERS = frozenset((
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
    "net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc",
))  # fmt: skip


class V1Mount(NamedTuple):
    """One v1 hierarchy: mount point, its controllers (several when co-mounted), and its name for the named ones (`systemd`)."""

    path: str
    controllers: tuple[str, ...]
    name: str = ""


class Layout(NamedTuple):
    """`kind` is "v1", "hybrid" or "v2"; `v2` the mount point of the v2 tree ("" without one)."""

    kind: str
    v1: tuple[V1Mount, ...]
    v2: str


def _unescape(path: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def parse_mountinfo(text: str) -> Layout:
    """The first mount of each hierarchy counts. No cgroup at all: kind "v2" with an empty `v2`."""
    v1: dict[tuple[str, ...], V1Mount] = {}
    v2 = ""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fs, _, options = right.split(" ", 2)
        if fs not in ("cgroup", "cgroup2"):
            continue
        path = _unescape(left.split(" ")[4])
        if fs == "cgroup2":
            v2 = v2 or path
            continue
        words = options.split(",")
        controllers = tuple(word for word in words if word in V1_CONTROLLERS)
        name = next((word[5:] for word in words if word.startswith("name=")), "")
        v1.setdefault(controllers or (name,), V1Mount(path, controllers, name))
    kind = "v2" if not v1 else "hybrid" if v2 else "v1"
    return Layout(kind, tuple(v1.values()), v2)
