"""The answers of an engine with a few odd objects, and the command lines whose output must be docker's, byte for byte.

`python tests/unit/list_answers.py` asks the docker client on the PATH and writes its outputs into list_outputs.json, which
test_cli_lists.py compares with ours; only client-side work is in them, so that any engine would do.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cli_engine import Engine, Request, Talk

TEMPLATES = Path(__file__).parent / "templates.txt"  # one a line, rendered with INSPECT
OUTPUTS = Path(__file__).parent / "list_outputs.json"
NOW = int(time.time())
A, B, C = "a1" * 32, "b2" * 32, "c3" * 32
SHA = "sha256:"


def port(inner: int, outer: int = 0, ip: str = "", kind: str = "tcp") -> dict[str, Any]:
    return {"PrivatePort": inner, "Type": kind, **({"IP": ip, "PublicPort": outer} if ip else {})}


CONTAINERS = [
    {
        "Id": A,
        "Names": ["/other/alias", "/web"],
        "Image": "busybox",
        "ImageID": SHA + C,
        "Command": "sleep 1000",
        "Created": NOW - 7300,
        "Ports": [port(p, p, ip) for p in (9001, 9000, 9002, 443) for ip in ("0.0.0.0", "::")]
        + [port(80, 8080, "0.0.0.0"), port(7000), port(7001), port(7003), port(7001, kind="udp"), port(53, 53, "127.0.0.1", "udp")],
        "Labels": {"a": "1", "com.example.some-label_x": "two"},
        "State": "running",
        "Status": "Up 2 hours",
        "SizeRw": 2,
        "SizeRootFs": 1999999,
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [
            {"Type": "volume", "Name": "v" * 40, "Driver": "local"},
            {"Type": "bind", "Source": "/a", "Driver": ""},
            {"Type": "volume", "Name": "v2", "Driver": "local"},
        ],
    },
    {
        "Id": B,
        "Names": ["/db"],
        "Image": f"docker.io/library/debian:12@{SHA}{C}",
        "ImageID": SHA + C,
        "Command": 'sh -c "exit 3\n" \x01 äöü € 日本語日本語日本語',
        "Created": NOW - 70,
        "Ports": [],
        "Labels": {},
        "State": "exited",
        "Status": "Exited (3) About a minute ago",
        "SizeRw": 1234567,
        "SizeRootFs": 0,
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    },
    {
        "Id": C,
        "Names": ["/x"],
        "Image": SHA + C,
        "ImageID": SHA + C,
        "Command": "a" * 21,
        "Created": NOW - 86400 * 20,
        "Ports": [port(65535)],
        "Labels": None,
        "State": "created",
        "Status": "Created",
        "NetworkSettings": {"Networks": {"none": None}},
        "Mounts": None,
    },
    {
        "Id": "d4" * 32,
        "Names": [],
        "Image": "",
        "ImageID": "",
        "Command": "a" * 20,
        "Created": NOW - 86400 * 800,
        "Ports": None,
        "Labels": None,
        "State": "dead",
        "Status": "Dead",
        "NetworkSettings": None,
        "Mounts": None,
    },
]
IMAGES = [
    {
        "Id": SHA + A,
        "RepoTags": ["busybox:latest"],
        "RepoDigests": [f"busybox@{SHA}{B}"],
        "Created": NOW - 100,
        "Size": 1982569,
        "SharedSize": -1,
        "Containers": -1,
    },
    {
        "Id": SHA + B,
        "RepoTags": ["docker.io/library/deb:12", "docker.io/library/deb:13"],
        "RepoDigests": [],
        "Created": NOW - 86400 * 40,
        "Size": 120999999,
        "SharedSize": 20999999,
        "Containers": 2,
    },
    {
        "Id": SHA + "f6" * 32,
        "RepoTags": ["reg.io:5000/x:1"],
        "RepoDigests": None,
        "Created": NOW - 86400 * 9,
        "Size": 5,
        "SharedSize": -1,
        "Containers": -1,
    },
    {"Id": SHA + C, "RepoTags": [], "RepoDigests": [], "Created": NOW - 86400 * 3, "Size": 0, "SharedSize": 0, "Containers": 0},
    {
        "Id": SHA + "d4" * 32,
        "RepoTags": None,
        "RepoDigests": [f"only/digest@{SHA}{A}"],
        "Created": 0,
        "Size": 1000,
        "SharedSize": -1,
        "Containers": -1,
    },
    {
        "Id": SHA + "e5" * 32,
        "RepoTags": ["<none>:<none>"],
        "RepoDigests": ["<none>@<none>"],
        "Created": NOW - 2700,
        "Size": 999,
        "SharedSize": -1,
        "Containers": -1,
    },
]
HISTORY = [
    {
        "Id": SHA + A,
        "Created": NOW - 100,
        "CreatedBy": '/bin/sh -c #(nop)  CMD ["sh"]\tand more text that does not fit into it',
        "Size": 0,
        "Comment": "buildkit",
    },
    {"Id": "<missing>", "Created": NOW - 86400 * 100, "CreatedBy": "ADD file in /", "Size": 4261502, "Comment": ""},
]
VOLUMES = [
    {"Name": name, "Driver": "local", "Mountpoint": f"/v/{name}/_data", "Scope": "local", "Labels": labels, "Options": None}
    for name, labels in (("vol10", {"b": "2"}), ("vol2", None), ("Data", {}), ("9z", {"some.la-bel": "x"}))
]
EVENTS: list[dict[str, Any]] = [
    {
        "status": "start",
        "id": A,
        "from": "busybox",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": A, "Attributes": {"name": "web", "image": "busybox", "a": "<1>"}},
        "scope": "local",
        "time": 1700000000,
        "timeNano": 1700000000000000012,
    },
    {
        "Type": "network",
        "Action": "prune",
        "Actor": {"ID": "", "Attributes": {}},
        "scope": "local",
        "time": 1700000001,
        "timeNano": 1700000001500000000,
    },
]
INSPECT = {
    "Id": A,
    "Created": "2026-01-02T03:04:05.678Z",
    "Path": "sleep",
    "Args": ["5"],
    "Name": "/web",
    "RestartCount": 0,
    "GraphDriver": {"Name": "overlay", "Data": None},
    "State": {"Status": "running", "Running": True, "Pid": 42, "ExitCode": 0},
    "Mounts": [{"Type": "volume", "Name": "v", "Destination": "/v <&>", "RW": True}],
    "Config": {
        "Labels": {"b": "2", "a": "1"},
        "Entrypoint": None,
        "Image": "busybox",
        "Cmd": ["sh"],
        "Env": [],
        "Volumes": {},
        "ExposedPorts": {"80/tcp": {}},
    },
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}, "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
    "HostConfig": {"Binds": None, "NetworkMode": "bridge", "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}},
}
VERSION = {
    "Platform": {"Name": "Test"},
    "Components": [],
    "Version": "1.2.3",
    "ApiVersion": "1.50",
    "MinAPIVersion": "1.24",
    "Os": "linux",
    "Arch": "amd64",
}

LINES = [
    "ps",
    "ps -a",
    "ps -s",
    "ps -q",
    "ps --no-trunc",
    "ps -q --no-trunc",
    "ps --format json",
    "ps --format raw",
    "ps -s --format raw",
    "ps -q --format x",
    "ps --format '{{json .}}'",
    "ps --format '{{.Names}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.Labels}} {{.Size}}'",
    "ps --format '{{.Label \"a\"}}'",
    "ps --no-trunc --format '{{.Names}}|{{.Image}}|{{.Mounts}}'",
    "ps --format 'table {{.ID}}\\t{{.Label \"com.example.some-label_x\"}}\\t{{upper .Image}}'",
    "ps --format 'table {{.Names}}'",
    "ps --format '{{.Foo}}'",
    "ps --format '{{.ID'",
    "ps --format 'table {{.Foo}}'",
    "ps --format '{{.Label}}'",
    "ps -f x",
    "ps --format 'table {{range $i,$e := split .Names \",\"}}{{$i}}{{$e}}{{end}}\\t{{.State}}'",
    "ps --format '{{truncate .ID 3}}{{pad .State 1 2}}|'",
    "ps --format 'a{{/* c */}}b {{- .ID -}} \\t{{\"x\"}}'",
    "ps --format '{{if eq .State \"dead\"}}d{{else if .Ports}}p{{else}}-{{end}}'",
    "images --no-trunc",
    "images -q",
    "images --digests",
    "images --format '{{.ID}} {{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.VirtualSize}}'",
    "images --format '{{.Repository}}:{{.Tag}}@{{.Digest}}'",
    "images --format json",
    "images --format raw",
    "images --digests --format raw",
    "images --format 'table {{.ID}}\\t{{.CreatedSince}}'",
    "images -q --format '{{.Tag}}'",
    "images --format '{{.Foo}}'",
    "images a b",
    "images --format table -q",
    "history x",
    "history -H=false --format '{{.Size}} {{.Comment}}' x",
    "history -q x",
    "history --no-trunc x",
    "history --format '{{json .CreatedBy}}' x",
    "history --format '{{.Foo}}' x",
    "history",
    "volume ls",
    "volume ls -q",
    "volume ls --format json",
    "volume ls --format raw",
    "volume ls --format '{{.Label \"some.la-bel\"}}{{.Name}}'",
    "volume ls --format 'table {{.Name}}\\t{{.Label \"some.la-bel\"}}'",
    "volume ls -q --format '{{.Driver}}'",
    "volume ls --format '{{.Foo}}'",
    "events --until 1",
    "events --until 1 --format json",
    "events --until 1 --format '{{.Type}} {{.Status}} {{.ID}} {{.Actor.Attributes.name}} {{.TimeNano}}'",
    "events --until 1 --format '{{json .}}'",
    "events --until 1 --format '{{.Foo}}'",
    "events --until 1 --format '{{.'",
    "events --since foo",
    "inspect c",
    "inspect -f json c",
    "inspect -f '{{.Config.Labels}} {{.GraphDriver.Data}} {{.HostConfig.Binds}}{{\"\\n\"}}\\n' c",
    "inspect nope",
    "inspect c nope",
    "inspect --type foo c",
    "inspect -f '{{.' c",
    "inspect -f '{{.Foo}}' c",
    "inspect --type image nope",
    "inspect -f '{{.Name}}' nope c c",
    "container inspect -f '{{range .Mounts}}{{json .Destination}}{{end}}' c",
    "image inspect nope",
    "volume inspect nope",
    "inspect",
    "version -f '{{.Server.Version}} {{.Server.Platform.Name}}'",
    "version -f '{{.Foo}}'",
    "version -f '{{foo'",
    "version -f '{{.Server.Foo}}'",
    "version x",
    "container prune",
    "image prune",
    "image prune -a",
    "volume prune",
    "volume prune -a",
    "container prune -f",
    "image prune -f",
    "volume prune -f",
    "volume create --name a b",
    "volume rm a nope",
    "rmi x nope",
    "rmi -f x nope",
    "tag x A:b",
    "tag x foo@sha256:" + A,
    "tag x y:1",
    "import nope.tar",
    "load -i nope.tar",
    "save -o nodir/x y",
    "save -o /dev/null y",
    "save -o /tmp y",
]
LINES += [f"container inspect -f {shlex.quote(template)} c" for template in TEMPLATES.read_text().splitlines()]

ANSWERS: dict[str, Any] = {
    "GET /containers/json": CONTAINERS,
    "GET /images/json": IMAGES,
    "GET /images/x/history": HISTORY,
    "GET /volumes": {"Volumes": VOLUMES, "Warnings": None},
    "GET /containers/c/json": INSPECT,
    "GET /version": VERSION,
    "GET /info": {"ServerVersion": "1.2.3", "Swarm": {"LocalNodeState": "inactive"}},
    "POST /containers/prune": {"ContainersDeleted": [A, B], "SpaceReclaimed": 123456},
    "POST /images/prune": {"ImagesDeleted": [{"Untagged": "a:b"}, {"Deleted": SHA + A}], "SpaceReclaimed": 0},
    "POST /volumes/prune": {"VolumesDeleted": None, "SpaceReclaimed": 0},
    "DELETE /images/x": [{"Untagged": "x:latest"}, {"Deleted": SHA + A}],
}


def answer(request: Request, talk: Talk) -> None:
    what = f"{request.method} {request.path}"
    if request.path == "/_ping":
        talk.raw(b"HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nContent-Length: 0\r\n\r\n")
    elif what == "GET /events":
        talk.taken = True
        body = "".join(json.dumps(event) + "\n" for event in EVENTS)
        talk.raw(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    elif what in ANSWERS:
        talk.json(ANSWERS[what])
    elif what in ("DELETE /volumes/a", "POST /images/x/tag"):
        talk.empty()
    else:
        talk.json({"message": f"No such {request.path.split('/')[1].rstrip('s')}: nope"}, "404 Not Found")


def settled(text: str) -> str:
    """The text without the times of this run, and with our name for docker's."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "AT", text)
    text = re.sub(r"(^|[ '])docker(:| )", r"\1wherry\2", text, flags=re.M)
    return text.replace("SRun '", "Run '")


def docker_outputs() -> dict[str, tuple[int, str, str]]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(f"{folder}/d.sock", answer)
        env = {"PATH": os.environ["PATH"], "DOCKER_HOST": engine.host, "DOCKER_CONFIG": folder, "TZ": "UTC", "HOME": folder}
        for line in LINES:
            done = subprocess.run(["docker", *shlex.split(line)], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, cwd=folder)
            found[line] = (done.returncode, settled(done.stdout), settled(done.stderr))
        engine.close()
    return found


if __name__ == "__main__":
    OUTPUTS.write_text(json.dumps(docker_outputs(), indent=1, ensure_ascii=False) + "\n")
    sys.exit(0)
