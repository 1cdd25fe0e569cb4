"""What the host looks like: everything that an engine could leave behind, as comparable text.

On a machine where other engines work at the same time, WHERRY_SHARED_HOST=1 keeps only what bears this engine's mark: its
directories, its bridge, the IDs of its containers. Without it, everything on the host counts.
"""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from .engine import Engine
from .waiting import eventually

SHARED = os.environ.get("WHERRY_SHARED_HOST") == "1"
WORKERS = 8
Snapshot = dict[str, Counter[str]]


def _command(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def mounts(pid: int | str = "self") -> Counter[str]:
    """Mount point, type and source of each mount that a process sees (IDs and options left out)."""
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        found.append(f"{left.split()[4]} {' '.join(right.split()[:2])}")
    return Counter(found)


def links() -> Counter[str]:
    """Name, master and kind of each link (indices left out)."""
    found = []
    for line in _command("ip", "-o", "link"):
        name = line.split(": ")[1].split("@")[0]
        master = re.search(r"master (\S+)", line)
        found.append(f"{name} master={master[1] if master else '-'}")
    return Counter(found)


def addresses() -> Counter[str]:
    found = [" ".join(line.split()[1:4]) for line in _command("ip", "-o", "addr") + _command("ip", "-o", "-6", "addr") if "scope link" not in line]
    return Counter(found + [f"route {line.replace(' linkdown', '').strip()}" for line in _command("ip", "route")])


def cgroups() -> Counter[str]:
    return Counter(directory for directory, _, _ in os.walk("/sys/fs/cgroup"))


def rules(mark: str = "") -> Counter[str]:
    """Lines of every table whose name has `mark`, each with its table."""
    found: list[str] = []
    for table in _command("nft", "list", "tables"):
        if mark in table:
            found += [f"{table}: {line.strip()}" for line in _command("nft", "-s", "list", *table.split())]
    return Counter(found)


def files(*roots: Path) -> Counter[str]:
    """Names below the roots; SQLite's own helpers come and go."""
    found = []
    for root in roots:
        for directory, names, leaves in os.walk(root):
            found += [os.path.join(directory, name) for name in names + leaves if not name.endswith(("-wal", "-shm", "-journal"))]
    return Counter(found)


def descriptors(pid: int) -> Counter[str]:
    """What a process holds open, by kind (numbers and inode numbers left out)."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/{pid}/fd/{fd}")))
        except FileNotFoundError:
            continue
    return Counter(found)


def _is_ours(pid: int) -> bool:
    """Whether a process is the engine's own: it runs Python, which the containers under comparison do not. A zombie counts."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return Path(f"/proc/{pid}").exists()
    return "python" in program or "memfd" in program


def processes(engine: Engine) -> Counter[str]:
    """Names of the engine's own processes."""
    found = []
    for pid in filter(_is_ours, engine.processes()):
        try:
            name, rest = Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
            found.append(f"{name}{' (zombie)' if rest.split()[0] == 'Z' else ''}")
        except FileNotFoundError:
            continue
    return Counter(found)


def take(engine: Engine, daemon: bool = True) -> Snapshot:
    """The host and, if wanted, the insides of the engine's processes (not of the containers' programs)."""
    shot: Snapshot = {
        "mounts": mounts(),
        "links": links(),
        "addresses": addresses(),
        "cgroups": cgroups(),
        "rules": rules(engine.bridge if SHARED else ""),
        "files": files(engine.data_root, engine.exec_root),
        "processes": processes(engine),
    }
    if daemon:
        shot["threads"] = Counter({"wherryd": len(os.listdir(f"/proc/{engine.pid}/task"))})
        shot["descriptors"] = descriptors(engine.pid)
        for pid in engine.processes():
            if pid != engine.pid and _is_ours(pid):  # by name: a parked monitor that was used is followed by another one
                try:
                    name = Path(f"/proc/{pid}/comm").read_text().strip()
                    held, seen = descriptors(pid), mounts(pid)
                except FileNotFoundError:
                    continue
                shot[f"descriptors of {name}"] = shot.get(f"descriptors of {name}", Counter()) + held
                shot[f"mounts of {name}"] = shot.get(f"mounts of {name}", Counter()) + seen
    if SHARED:
        marks = re.compile("|".join(map(re.escape, [str(engine.dir), engine.bridge, *engine.ids_seen()])))
        for kind in ("mounts", "links", "addresses", "cgroups"):
            shot[kind] = Counter({text: count for text, count in shot[kind].items() if marks.search(text)})
    return shot


def settled(engine: Engine, daemon: bool = True, seconds: float = 15.0) -> Snapshot:
    """A snapshot that the next one, half a second later, equals: what the kernel still takes down is not in it."""
    last = take(engine, daemon)

    def still() -> bool:
        nonlocal last
        previous, last = last, take(engine, daemon)
        return not difference(previous, last)

    eventually(still, seconds, every=0.5, what="the host comes to rest")
    return last


def difference(before: Snapshot, after: Snapshot) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in before.keys() | after.keys():
        old, new = before.get(kind, Counter()), after.get(kind, Counter())
        lines = [f"+ {text}" for text in (new - old).elements()] + [f"- {text}" for text in (old - new).elements()]
        if lines:
            found[kind] = lines
    return found


def assert_as_before(before: Snapshot, engine: Engine, daemon: bool = True, seconds: float = 10.0) -> None:
    """The host is as it was; the kernel takes network namespaces down in the background, so this waits for a while.

    The daemon's pool makes its workers when they are first needed: up to WORKERS more threads are no leak."""
    last: dict[str, list[str]] = {}

    def same() -> bool:
        nonlocal last
        after = take(engine, daemon)
        if daemon and 0 < after["threads"].total() - before["threads"].total() <= WORKERS:
            after["threads"] = before["threads"]
        last = difference(before, after)
        return not last

    try:
        eventually(same, seconds, every=0.2)
    except AssertionError:
        lines = [f"{kind}:\n  " + "\n  ".join(lines[:20]) for kind, lines in last.items()]
        raise AssertionError("left behind (+) or lost (-):\n" + "\n".join(lines)) from None
