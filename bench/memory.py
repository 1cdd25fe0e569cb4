"""Memory of an engine and of what it keeps per idle container, as PSS (proc(5), smaps_rollup): shared pages are counted once."""

import contextlib
import json
import os
from pathlib import Path

from engines import Engine


def pss(pid: int) -> int:
    """Proportional set size in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def own_processes(engine: Engine) -> set[int]:
    """The daemon, its descendants, and a containerd that lives in the same mount namespace; not the containers' programs."""
    daemon = engine.pid()
    parents: dict[int, int] = {}
    found = {daemon}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry)] = parent(int(entry))
                same_view = os.readlink(f"/proc/{entry}/ns/mnt") == os.readlink(f"/proc/{daemon}/ns/mnt")
                if same_view and Path(f"/proc/{entry}/comm").read_text().strip() == "containerd":
                    found.add(int(entry))
    programs = {int(json.loads(engine.request("GET", f"/containers/{container['Id']}/json"))["State"]["Pid"])
                for container in json.loads(engine.request("GET", "/containers/json"))}  # fmt: skip
    found |= {parents[program] for program in programs if program in parents}
    grown = True
    while grown:
        grown = False
        for pid, above in parents.items():
            if above in found and pid not in found and pid not in programs:
                found.add(pid)
                grown = True
    return found - programs


def measure(engine: Engine, count: int) -> dict[str, float]:
    """MiB: of the idle engine, of all that it holds per container, and of the process beside each program."""
    empty = sum(pss(pid) for pid in own_processes(engine))
    ids = [engine.create(f"memory{n}", ["sleep", "600"]) for n in range(count)]
    for container in ids:
        engine.request("POST", f"/containers/{container}/start")
    programs = [int(json.loads(engine.request("GET", f"/containers/{container}/json"))["State"]["Pid"]) for container in ids]
    beside = sum(pss(parent(program)) for program in programs) / count
    full = sum(pss(pid) for pid in own_processes(engine))
    engine.remove_all()
    mib = 1 << 20
    return {"engine": empty / mib, "per container": (full - empty) / count / mib, "monitor or shim": beside / mib}
