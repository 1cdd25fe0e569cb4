"""After a storm: what is recorded against what the kernel has, both ways; nothing without a row, no row without its object."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from harness.engine import Engine
from harness.waiting import eventually
from long import loglines
from wherry.network.firewall import table_name

ID = re.compile(r"[0-9a-f]{64}")


class Check:
    """All comparisons of one engine that stands still; `wrong` are the sentences about what does not agree."""

    def __init__(self, engine: Engine, cut: set[str]) -> None:
        self.engine, self.cut, self.wrong = engine, cut, []
        listed = engine.api.ok("GET", "/containers/json?all=1")
        self.shown: dict[str, Any] = {one["Id"]: engine.api.ok("GET", f"/containers/{one['Id']}/json") for one in listed}
        self.running = {identifier for identifier, one in self.shown.items() if one["State"]["Running"] and not one["State"]["Restarting"]}
        self.db = sqlite3.connect(f"file:{engine.data_root}/wherry.db?mode=ro", uri=True)

    def same(self, what: str, found: set[Any], wanted: set[Any]) -> None:
        for one in sorted(map(str, found - wanted)):
            self.wrong.append(f"{what}: {one[:90]} is there, and should not be")
        for one in sorted(map(str, wanted - found)):
            self.wrong.append(f"{what}: {one[:90]} is missing")

    def rows(self, query: str) -> list[Any]:
        return self.db.execute(query).fetchall()

    def all(self) -> list[str]:
        """Every check; the sentences."""
        for part in (self.states, self.files, self.processes, self.mounts, self.network, self.cgroups, self.database, self.logs):
            try:
                part()
            except Exception as error:
                self.wrong.append(f"{part.__name__}: {error!r}")
        self.db.close()
        return self.wrong

    def states(self) -> None:
        for identifier, one in self.shown.items():
            state, name = one["State"], one["Name"]
            if not state["Running"]:
                if state["Pid"]:
                    self.wrong.append(f"{name} does not run and has PID {state['Pid']}")
                continue
            recorded = json.loads((self.engine.exec_root / "execdriver/native" / identifier / "state.json").read_text())
            if recorded["pid"] != state["Pid"]:
                self.wrong.append(f"{name} has PID {state['Pid']}, and state.json says {recorded['pid']}")
            with contextlib.suppress(FileNotFoundError):
                ticks = int(Path(f"/proc/{state['Pid']}/stat").read_text().rsplit(")", 1)[1].split()[19])
                if ticks == recorded["ticks"]:
                    continue
            self.wrong.append(f"{name} is said to run, and process {state['Pid']} is not it")

    def files(self) -> None:
        root, native = self.engine.data_root, self.engine.exec_root / "execdriver/native"
        driver = next(name for name in ("overlay", "vfs") if (root / name).is_dir())
        known = set(self.shown)
        self.same("exec directories", {one.name for one in native.iterdir()}, self.running)
        self.same("layers", {one.name for one in (root / driver).iterdir() if ID.fullmatch(one.name)}, known)
        self.same("mount points", {one.name for one in (root / driver / "mnt").iterdir()}, self.running)
        self.same("records", {one.name for one in (root / "containers").iterdir()}, known)
        volumes = {one["Name"] for one in self.engine.api.ok("GET", "/volumes")["Volumes"] or []}
        self.same("volumes", {one.name for one in (root / "volumes").iterdir() if one.is_dir()}, volumes)
        used = {m["Name"] for one in self.shown.values() for m in one["Mounts"] if m["Type"] == "volume"}
        self.same("used volumes", used - volumes, set())
        self.same("anonymous volumes", {one for one in volumes if ID.fullmatch(one)}, {one for one in used if ID.fullmatch(one)})

    def processes(self) -> None:
        names: dict[str, int] = {}
        for pid in self.engine.processes():
            with contextlib.suppress(OSError):
                found = ID.search(Path(f"/proc/{pid}/cgroup").read_text())
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if found and found[0] not in self.running:
                    self.wrong.append(f"process {pid} ({name}) of container {found[0][:12]} lives, which does not run")
                if not found and name.startswith("wherry-"):
                    names[name] = names.get(name, 0) + 1
                if not found and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    self.wrong.append(f"process {pid} ({name}) is a zombie")
        if names.get("wherry-monitor", 0) > len(self.running) + 4 or names.get("wherry-proxy", 0) > 1:
            self.wrong.append(f"{names} for {len(self.running)} running containers")

    def mounts(self) -> None:
        found = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            place = line.split()[4]
            if place.startswith(str(self.engine.data_root)) and (match := ID.search(place)):
                found.append(match[0])
        self.same("mounts", set(found), self.running)
        if len(found) != len(set(found)):
            self.wrong.append(f"something is mounted twice: {sorted(found)}")

    def network(self) -> None:
        links = subprocess.run(["ip", "-o", "link", "show", "master", self.engine.bridge], capture_output=True, text=True, check=True).stdout
        held = self.rows("SELECT container, veth FROM network_endpoints")
        self.same("addresses", {row[0] for row in held}, self.running)
        self.same("links", {line.split(": ")[1].split("@")[0] for line in links.splitlines()}, {row[1] for row in held})
        ports = self.rows("SELECT container, protocol, host_ip, host_port, address, container_port FROM network_ports")
        published = {row[0] for row in ports}
        wanted = {identifier for identifier in self.running if self.shown[identifier]["HostConfig"]["PortBindings"]}
        self.same("published ports", published, wanted)
        facts = self.engine.exec_root / "proxy.facts"
        held_ports = {tuple(port[:4]) for port in json.loads(facts.read_text())["ports"]} if facts.exists() else set()
        self.same("ports of the proxy", held_ports, {tuple(row[:4]) for row in ports})
        table = subprocess.run(["nft", "list", "map", "ip", table_name(self.engine.bridge), "ports"], capture_output=True, text=True, check=True)
        found = {int(port) for port in re.findall(r"(?:tcp|udp|6|17) \. (\d+) :", table.stdout)}
        self.same("rules", found, {row[3] for row in ports if row[2] == "0.0.0.0"})
        for container, _, host_ip, port, *_ in ports:
            if host_ip == "0.0.0.0" and not self.shown[container]["State"]["Paused"]:
                self._fetch(container, port)

    def _fetch(self, container: str, port: int) -> None:
        """The container's httpd answers through the proxy (127.0.0.1); one that was started just now gets the time for it."""
        def answers() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/hostname")
                return connection.getresponse().status == 200

        try:
            eventually(answers, 5, what=f"port {port} of {self.shown[container]['Name']} answers")
        except (AssertionError, http.client.HTTPException) as error:
            self.wrong.append(str(error))

    def cgroups(self) -> None:
        found, ids = set(), self.engine.ids_seen() | set(self.shown)
        for directory, names, _ in os.walk("/sys/fs/cgroup"):
            if directory.endswith("/wherry"):
                found |= {name for name in names if name in ids}
        self.same("cgroups", found, self.running)

    def database(self) -> None:
        self.same("rows", {row[0] for row in self.rows("SELECT id FROM containers")}, set(self.shown))
        self.same("names", set(self.rows("SELECT container, name FROM names")), {(i, one["Name"].lstrip("/")) for i, one in self.shown.items()})
        self.same("journal of runs", {row[0] for row in self.rows("SELECT container FROM journal WHERE kind='run'")}, self.running)
        self.same("journal of layers", {row[0] for row in self.rows("SELECT container FROM journal WHERE kind='layer'")}, set())
        self.same("users of volumes", {row[0] for row in self.rows("SELECT container FROM volume_users")} - set(self.shown), set())
        self.same("mounted volumes", {row[0] for row in self.rows("SELECT container FROM volume_users WHERE mounted=1")} - self.running, set())

    def logs(self) -> None:
        for identifier, one in self.shown.items():
            body = self.engine.api("GET", f"/containers/{identifier}/logs?stdout=1&stderr=1").body
            state = one["State"]
            ended = state["Status"] == "exited" and state["ExitCode"] == 7
            for problem in loglines.problems(body, cut=identifier in self.cut, ended=ended):
                self.wrong.append(f"log of {one['Name']} {identifier[:12]}: {problem}")
            if state["Status"] == "exited" and state["StartedAt"][:4] != "0001" and state["ExitCode"] not in (0, 3, 5, 7, 42, 137, 143):
                self.wrong.append(f"{one['Name']} ended with {state['ExitCode']}: {state}")
