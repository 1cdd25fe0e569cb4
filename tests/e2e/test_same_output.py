"""`wherry` and the stock `docker` client list and show the same objects of the same daemon with the same bytes."""

import shlex
import time
from pathlib import Path

import pytest

from harness.engine import Engine
from harness.external import external_host

pytestmark = pytest.mark.skipif(bool(external_host()), reason="needs both clients and our daemon")

LINES = [
    "ps",
    "ps -a",
    "ps -as",
    "ps -aq",
    "ps -a --no-trunc",
    "ps -a --format json",
    "ps -l",
    "ps -n 1",
    "ps -a -f status=exited",
    "ps -a --format 'table {{.Names}}\\t{{.Ports}}\\t{{.Label \"a\"}}\\t{{.Mounts}}\\t{{.Networks}}\\t{{.Size}}'",
    "ps --format '{{.Foo}}'",
    "ps -f foo=bar",
    "images",
    "images --digests",
    "images -q --no-trunc",
    "images busybox",
    "images --format '{{.Repository}} {{.CreatedAt}} {{.Size}}'",
    "history busybox",
    "history --no-trunc -H=false busybox",
    "volume ls",
    "volume ls --format json",
    "volume inspect NAME",
    "inspect NAME busybox bridge",
    "inspect -s NAME",
    "inspect -f '{{json .}}' NAME",
    "inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' NAME",
    "inspect -f '{{range $k, $v := .NetworkSettings.Ports}}{{$k}}={{(index $v 0).HostPort}} {{end}}{{.State.Health}}' NAME",
    "inspect nosuch NAME",
    "inspect -f '{{.State.Health.Status}}' NAME",
    "container inspect nosuch",
    "image inspect -f '{{.Id}} {{.RepoTags}} {{.Config.Cmd}}' busybox",
    "info -f '{{.ServerVersion}} {{.Driver}} {{.Plugins.Volume}} {{json .Swarm}}'",
    "version -f '{{.Server.Version}} {{json .Server.Components}}'",
]


def settled(text: str) -> str:
    return text.replace("docker ", "wherry ")


def test_same_output(engine: Engine, name: str, free_port: int) -> None:
    clis = [engine.cli("wherry"), engine.cli("docker")]
    port = ["-p", f"{free_port}:80", "-p", "127.0.0.1::81"]
    clis[0]("run", "-d", "--name", name, "--label", "a=b", "-v", f"{name}:/v", *port, "busybox", "sleep", "100")
    clis[0]("run", "--name", f"{name}-2", "busybox", "sh", "-c", "echo a long command line; exit 3", code=3)
    for line in LINES:
        argv = shlex.split(line.replace("NAME", name))
        for _ in range(3):  # "5 seconds ago" may become "6 seconds ago" between the two
            ours, docker = ((done.code, settled(done.out), settled(done.err)) for done in (cli(*argv, code=None) for cli in clis))
            if ours == docker:
                break
        assert ours == docker, line


def test_events_are_the_same(engine: Engine, name: str) -> None:
    clis = [engine.cli("wherry"), engine.cli("docker")]
    clis[0]("run", "--rm", "--name", name, "busybox", "true")
    until = str(int(time.time()) + 1)  # in the future: the client reads on until then
    for form in ([], ["--format", "json"], ["--format", "{{.Time}} {{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.foo}}"]):
        ours, docker = (cli("events", "--since", "10m", "--until", until, *form) for cli in clis)
        assert ours.out == docker.out and name in ours.out


def test_prune_and_confirmation(engine: Engine, name: str) -> None:
    wherry = engine.cli("wherry")
    wherry("create", "--name", name, "busybox")
    assert wherry("container", "prune", stdin="n\n").out.endswith("[y/N] ")
    assert wherry("ps", "-aq", "-f", f"name={name}").out
    out = wherry("container", "prune", stdin="y\n").out
    assert "Deleted Containers:\n" in out and "Total reclaimed space: 0B\n" in out
    assert not wherry("ps", "-aq").out
    wherry("volume", "create", name)
    assert wherry("volume", "prune", "-f").out == "Total reclaimed space: 0B\n"
    assert name in wherry("volume", "prune", "-af").out


def test_terminals_are_refused_for_archives(engine: Engine) -> None:
    wherry = engine.cli("wherry")
    for argv, text in ((["load"], "requested load from stdin, but stdin is empty"), (["save", "busybox"], "cowardly refusing to save to a terminal")):
        with wherry.terminal(*argv) as terminal:
            terminal.expect(text)
            assert terminal.wait() == 1


def test_save_keeps_an_older_file_when_it_fails(engine: Engine, tmp_path: Path) -> None:
    wherry, target = engine.cli("wherry"), tmp_path / "x.tar"
    target.write_text("old")
    wherry("save", "-o", str(target), "nosuch", code=1)
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["x.tar"]
    wherry("save", "-o", str(target), "busybox")
    assert wherry("load", "-i", str(target)).out == "Loaded image: busybox:latest\n"
