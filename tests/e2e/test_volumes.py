"""Binds, named and anonymous volumes, tmpfs, --volumes-from, and the volume verbs."""

import json
from pathlib import Path

import pytest

from harness.cli import Cli


def test_bind_read_write_and_read_only(cli: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "in").write_text("from the host\n")
    assert cli("run", "--rm", "-v", f"{tmp_path}:/mnt", "busybox", "sh", "-c", "cat /mnt/in; echo back >/mnt/out").out == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"
    refused = cli("run", "--rm", "-v", f"{tmp_path}:/mnt:ro", "busybox", "touch", "/mnt/x", code=1)
    assert "Read-only file system" in refused.err


def test_bind_of_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one file\n")
    assert cli("run", "--rm", "-v", f"{tmp_path}/f:/etc/some/deep/file:ro", "busybox", "cat", "/etc/some/deep/file").out == "one file\n"


def test_missing_source(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--rm", "-v", f"{tmp_path}/made:/mnt", "busybox", "true")
    assert (tmp_path / "made").is_dir()
    missing = cli("run", "--rm", "--mount", f"type=bind,src={tmp_path}/nothere,dst=/mnt", "busybox", "true", code=125)
    assert "nothere" in missing.err


def test_named_volume_is_kept_and_copied_up(cli: Cli, name: str) -> None:
    assert cli("run", "--rm", "-v", f"{name}:/etc", "busybox", "cat", "/etc/nsswitch.conf").out.startswith("passwd:")
    cli("run", "--rm", "-v", f"{name}:/etc", "busybox", "sh", "-c", "echo mine >/etc/mine")
    assert "mine\n" in cli("run", "--rm", "-v", f"{name}:/data", "busybox", "cat", "/data/mine").out
    assert cli("run", "--rm", "-v", f"{name}-empty:/etc/x:nocopy", "busybox", "ls", "/etc/x").out == ""
    shown = json.loads(cli("volume", "inspect", name).out)[0]
    assert shown["Name"] == name and shown["Driver"] == "local" and Path(shown["Mountpoint"]).is_dir()


def test_volume_verbs(cli: Cli, name: str) -> None:
    assert cli("volume", "create", "--label", "kind=test", name).line == name
    assert cli("volume", "create", name).line == name
    assert name in cli("volume", "ls", "-q", "--filter", "label=kind=test").out.split()
    assert cli("volume", "ls", "--filter", f"name={name}").out.splitlines()[1].split() == ["local", name]
    cli("run", "-d", "--name", name, "-v", f"{name}:/v", "busybox", "sleep", "60")
    assert "in use" in cli("volume", "rm", name, code=1).err
    cli("rm", "-f", name)
    assert cli("volume", "rm", name).line == name
    assert name in cli("volume", "inspect", name, code=1).err
    anonymous = cli("volume", "create").line
    assert len(anonymous) == 64
    assert anonymous in cli("volume", "prune", "-f").out


def test_anonymous_volume_goes_with_rm(cli: Cli) -> None:
    before = cli("volume", "ls", "-q").out
    cli("run", "--rm", "-v", "/data", "busybox", "touch", "/data/x")
    assert cli("volume", "ls", "-q").out == before


def test_volumes_from(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "-v", "/shared", "busybox", "sh", "-c", "echo kept >/shared/f")
    assert cli("run", "--rm", "--volumes-from", name, "busybox", "cat", "/shared/f").out == "kept\n"
    assert cli("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "touch", "/shared/g", code=1).err
    assert cli("run", "--rm", "--volumes-from", "nobody-here", "busybox", "true", code=125).err


def test_tmpfs(cli: Cli) -> None:
    out = cli("run", "--rm", "--tmpfs", "/t:size=2m,mode=700", "busybox", "sh", "-c", "stat -c %a /t; df -k /t | tail -1; mount | grep ' /t '").out
    assert out.startswith("700\n") and " 2048 " in out and "noexec" in out and "nosuid" in out


def test_mode_of_a_tmpfs(cli: Cli) -> None:
    mounts = ("--tmpfs", "/new/place", "--tmpfs", "/etc", "--tmpfs", "/own:mode=710")
    out = cli("run", "--rm", *mounts, "busybox", "stat", "-c", "%a", "/new/place", "/etc", "/own").out
    assert out.split() == ["1777", "755", "710"]


def test_mount_syntax(cli: Cli, name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a\n")
    mounts = (f"type=bind,src={tmp_path},dst=/b,readonly", f"type=volume,src={name},dst=/v", "type=tmpfs,dst=/t,tmpfs-size=1m")
    args = [word for mount in mounts for word in ("--mount", mount)]
    assert cli("run", "--rm", *args, "busybox", "sh", "-c", "cat /b/a; touch /v/x /t/x && echo both").out == "a\nboth\n"


@pytest.mark.parametrize("bad", ["relative/path:/x", "/a:relative", "/a:/b:nonsense", "na/me:/x", "/a:/"])
def test_bad_specifications_are_refused(cli: Cli, bad: str) -> None:
    assert cli("run", "--rm", "-v", bad, "busybox", "true", code=125).err
