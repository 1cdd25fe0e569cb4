"""Every verb, through both clients: what it prints and what it changes."""

import json
import re
import tarfile
from pathlib import Path

import pytest

from harness.cli import Cli
from harness.waiting import eventually

SLEEP = ("busybox", "sleep", "600")


def test_create_start_ps_stop_rm(cli: Cli, name: str) -> None:
    container = cli("create", "--name", name, "--label", "a=b", *SLEEP).line
    assert re.fullmatch(r"[0-9a-f]{64}", container)
    assert cli("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").line == "Created"
    assert cli("start", name).line == name
    assert cli("start", container[:10]).line == container[:10]
    header, row = cli("ps", "--filter", f"name={name}").out.splitlines()
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert row.startswith(container[:12]) and row.endswith(name) and '"sleep 600"' in row and " Up " in row
    assert cli("ps", "-q", "--no-trunc", "--filter", "label=a=b").line == container
    assert cli("rm", name, code=1).err
    assert cli("stop", "-t", "1", name).line == name
    assert cli("ps", "-q", "--filter", f"name={name}").out == ""
    assert re.match(r"Exited \(137\) .* ago", cli("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").line)
    assert cli("rm", name).line == name
    assert name in cli("inspect", name, code=1).err


def test_start_attached_and_several(cli: Cli, name: str) -> None:
    cli("create", "--name", name, "busybox", "sh", "-c", "echo hi; exit 3")
    cli("create", "--name", f"{name}-2", "busybox", "true")
    assert cli("start", "-a", name, code=3).out == "hi\n"
    mixed = cli("start", name, "no-such-container", f"{name}-2", code=1)
    assert mixed.out.split() == [name, f"{name}-2"] and "no-such-container" in mixed.err


def test_restart_kill_wait(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, *SLEEP)
    before = cli("inspect", "-f", "{{.State.Pid}}", name).line
    assert cli("restart", "-t", "0", name).line == name
    assert cli("inspect", "-f", "{{.State.Pid}}", name).line != before
    waiting = cli.start("wait", name)
    assert cli("kill", "-s", "KILL", name).line == name
    assert waiting.communicate(timeout=20)[0] == b"137\n"
    assert cli("wait", name).line == "137"
    assert cli("kill", name, code=1).err


def test_exec(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "-e", "OWN=1", *SLEEP)
    assert cli("exec", name, "sh", "-c", "echo out; echo err >&2; exit 6", code=6).err == "err\n"
    assert cli("exec", "-i", name, "cat", stdin="through\n").out == "through\n"
    assert cli("exec", "-e", "X=y", "-w", "/tmp", "-u", "33", name, "sh", "-c", "echo $OWN$X $PWD $(id -u)").line == "1y /tmp 33"
    assert cli("exec", name, "no-such-program", code=127)
    assert cli("exec", name, "/etc/passwd", code=126)
    cli("exec", "-d", name, "sh", "-c", "echo detached >/seen")
    eventually(lambda: cli("exec", name, "cat", "/seen").out == "detached\n")
    assert cli("exec", name, "cat", "/proc/1/comm").line == "sleep"
    large = cli("exec", name, "head", "-c", "5000000", "/dev/zero")
    assert len(large.raw_out) == 5_000_000
    cli("stop", "-t", "0", name)
    assert "not running" in cli("exec", name, "true", code=1).err


def test_logs_attach_top_port(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "-p", "127.0.0.1::80", "busybox", "sh", "-c", "echo hello; exec sleep 600")
    eventually(lambda: cli("logs", name).out == "hello\n")
    titles, process = cli("top", name).out.splitlines()
    assert titles.split()[:2] == ["UID", "PID"] and process.endswith("sleep 600")
    assert re.fullmatch(r"80/tcp -> 127\.0\.0\.1:\d+", cli("port", name).line)
    assert cli("port", name, "81", code=1).err


def test_pause_and_unpause(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
    eventually(lambda: "tick" in cli("logs", name).out)
    assert cli("pause", name).line == name
    assert "(Paused)" in cli("ps", "--filter", f"name={name}").out
    count = len(cli("logs", name).out)
    assert cli("pause", name, code=1).err and cli("exec", name, "true", code=1).err
    assert len(cli("logs", name).out) == count
    assert cli("unpause", name).line == name
    eventually(lambda: len(cli("logs", name).out) > count)
    cli("pause", name)
    assert cli("rm", "-f", name).line == name


def test_rename(cli: Cli, name: str) -> None:
    cli("create", "--name", name, *SLEEP)
    cli("create", "--name", f"{name}-taken", *SLEEP)
    assert f"{name}-taken" in cli("rename", name, f"{name}-taken", code=1).err
    cli("rename", name, f"{name}-new")
    assert cli("inspect", "-f", "{{.Name}}", f"{name}-new").line == f"/{name}-new"
    cli("inspect", name, code=1)


def test_events(cli: Cli, name: str) -> None:
    began = cli("info", "--format", "{{.SystemTime}}").line
    cli("run", "--name", name, "busybox", "sh", "-c", "exit 5", code=5)
    cli("rm", name)
    ended = cli("info", "--format", "{{.SystemTime}}").line
    out = cli("events", "--since", began, "--until", ended, "--filter", f"container={name}", "--format", "{{.Action}}").out.split()
    wanted = ["create", "start", "die", "destroy"]
    assert [action for action in out if action in wanted] == wanted
    text = cli("events", "--since", began, "--until", ended, "--filter", f"container={name}", "--filter", "event=die").line
    assert "container die" in text and "exitCode=5" in text and f"name={name}" in text


def test_inspect_shapes(cli: Cli, name: str) -> None:
    cli("create", "--name", name, "-e", "A=b", "--label", "k=v", "-m", "64m", "--restart", "on-failure:3", "-w", "/w", *SLEEP)
    (shown,) = json.loads(cli("inspect", name).out)
    assert shown["Config"]["Labels"] == {"k": "v"} and "A=b" in shown["Config"]["Env"]
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert shown["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert (shown["Path"], shown["Args"], shown["State"]["Status"]) == ("sleep", ["600"], "created")
    assert shown["Image"].startswith("sha256:") and shown["Config"]["Image"] == "busybox"
    assert cli("inspect", "-f", '{{range .Config.Env}}{{println .}}{{end}}{{index .Config.Labels "k"}}', name).out.splitlines()[-1] == "v"
    assert json.loads(cli("inspect", "--format", "{{json .Config.Labels}}", name).out) == {"k": "v"}
    assert json.loads(cli("inspect", "busybox").out)[0]["RepoTags"] == ["busybox:latest"]


def test_images_tag_rmi_history(cli: Cli) -> None:
    tag = f"harbour/boat:{cli.name}"
    cli("tag", "busybox", tag)
    row = cli("images", "harbour/boat").out.splitlines()[1].split()
    assert row[:2] == ["harbour/boat", cli.name] and len(row[2]) == 12
    assert cli("images", "-q", "harbour/boat").line == cli("images", "-q", "busybox").line
    assert cli("run", "--rm", tag, "echo", "tagged").line == "tagged"
    assert f"Untagged: {tag}" in cli("rmi", tag).out
    assert "harbour/boat" not in cli("images").out
    assert "busybox" in cli("images", "--format", "{{.Repository}}").out.split()
    assert "tools/images" in cli("history", "--no-trunc", "busybox").out
    assert cli("history", "-q", "busybox").out.strip()


def test_save_load_round_trip(cli: Cli, tmp_path: Path) -> None:
    tag = f"roundtrip:{cli.name}"
    cli("tag", "nginx", tag)
    image = cli("inspect", "-f", "{{.Id}}", tag).line
    cli("save", "-o", str(tmp_path / "saved.tar"), tag)
    with tarfile.open(tmp_path / "saved.tar") as archive:
        assert "manifest.json" in archive.getnames()
    cli("rmi", tag)
    assert f"Loaded image: {tag}" in cli("load", "-i", str(tmp_path / "saved.tar")).out
    assert cli("inspect", "-f", "{{.Id}}", tag).line == image
    cli("rmi", tag)


def test_import_of_a_root_file_system(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("imported\n")
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        archive.add(tmp_path / "hello", "hello")
    tag = f"imported:{cli.name}"
    image = cli("import", "-c", 'CMD ["/bin/busybox","cat","/hello"]', "-c", "ENV K=V", str(tmp_path / "root.tar"), tag).line
    assert image.startswith("sha256:")
    assert cli("run", "--rm", tag).out == "imported\n"
    assert "K=V" in cli("inspect", "-f", "{{.Config.Env}}", tag).out
    cli("rmi", tag)


def test_rmi_of_an_image_in_use(cli: Cli, name: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(name)
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add(tmp_path / "f", "f")
    cli("import", str(tmp_path / "root.tar"), f"inuse:{cli.name}")
    cli("create", "--name", name, f"inuse:{cli.name}", "x")
    assert "container" in cli("rmi", f"inuse:{cli.name}", code=1).err
    cli("rm", name)
    assert "Deleted: sha256:" in cli("rmi", f"inuse:{cli.name}").out


def test_version_and_info(cli: Cli) -> None:
    version = json.loads(cli("version", "--format", "{{json .}}").out)
    assert version["Server"]["Os"] == "linux" and version["Client"]["ApiVersion"]
    assert "Server" in cli("version").out
    info = json.loads(cli("info", "--format", "{{json .}}").out)
    assert info["NCPU"] >= 1 and info["MemTotal"] > 0 and info["Driver"]
    assert f"Storage Driver: {info['Driver']}" in cli("info").out


@pytest.mark.parametrize(
    "verb",
    ["run", "create", "start", "stop", "restart", "kill", "wait", "rm", "logs", "attach", "exec", "inspect", "rename", "pause", "unpause", "top",
     "port", "import", "save", "tag", "rmi", "history"],
)  # fmt: skip
def test_verbs_without_arguments_say_what_they_need(cli: Cli, verb: str) -> None:
    said = cli(verb, code=1).err
    assert "requires" in said and "argument" in said


def test_container_and_image_groups(cli: Cli, name: str) -> None:
    cli("container", "create", "--name", name, *SLEEP)
    assert name in cli("container", "ls", "-a").out
    assert cli("container", "rm", name).line == name
    assert "busybox" in cli("image", "ls").out
    assert json.loads(cli("image", "inspect", "busybox").out)[0]["Os"] == "linux"
