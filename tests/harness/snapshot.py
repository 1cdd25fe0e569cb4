"""What the host looks like: everything that an engine could leave behind, as comparable text.

On a machine that others use at the same time, WHERRY_SNAPSHOT_IGNORE (a regular expression) leaves their things out.
"""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from .engine import Engine
from .waiting import eventually

IGNORE = re.compile(os.environ.get("WHERRY_SNAPSHOT_IGNORE") or r"(?!)")
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
    return Counter(found + [f"route {line}" for line in _command("ip", "route") if "linkdown" not in line])


def cgroups() -> Counter[str]:
    return Counter(directory for directory, _, _ in os.walk("/sys/fs/cgroup"))


def rules() -> Counter[str]:
    return Counter(line.strip() for line in _command("nft", "-s", "list", "ruleset"))


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


def processes(engine: Engine) -> Counter[str]:
    found = []
    for pid in engine.processes():
        try:
            name, rest = Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
            found.append(f"{name}{' (zombie)' if rest.split()[0] == 'Z' else ''}")
        except FileNotFoundError:
            continue
    return Counter(found)


def take(engine: Engine, daemon: bool = True) -> Snapshot:
    """The host and, if wanted, the insides of the daemon's processes."""
    shot: Snapshot = {
        "mounts": mounts(),
        "links": links(),
        "addresses": addresses(),
        "cgroups": cgroups(),
        "rules": rules(),
        "files": files(engine.data_root, engine.exec_root),
        "processes": processes(engine),
    }
    if daemon:
        shot["threads"] = Counter({"wherryd": len(os.listdir(f"/proc/{engine.pid}/task"))})
        shot["descriptors"] = descriptors(engine.pid)
        for pid in engine.processes():
            if pid != engine.pid:
                shot[f"descriptors of {pid}"] = descriptors(pid)
                shot[f"mounts of {pid}"] = mounts(pid)
    return {kind: Counter({text: count for text, count in lines.items() if not IGNORE.search(text)}) for kind, lines in shot.items()}


def difference(before: Snapshot, after: Snapshot) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in before.keys() | after.keys():
        old, new = before.get(kind, Counter()), after.get(kind, Counter())
        lines = [f"+ {text}" for text in (new - old).elements()] + [f"- {text}" for text in (old - new).elements()]
        if lines:
            found[kind] = lines
    return found


def assert_as_before(before: Snapshot, engine: Engine, daemon: bool = True, seconds: float = 10.0) -> None:
    """The host is as it was; the kernel takes network namespaces down in the background, so this waits for a while."""
    last: dict[str, list[str]] = {}

    def same() -> bool:
        nonlocal last
        last = difference(before, take(engine, daemon))
        return not last

    try:
        eventually(same, seconds, every=0.2)
    except AssertionError:
        lines = [f"{kind}:\n  " + "\n  ".join(lines[:20]) for kind, lines in last.items()]
        raise AssertionError("left behind (+) or lost (-):\n" + "\n".join(lines)) from None
