"""v1 on a fake tree: the order of directories and writes, and what is undone. Plain directories, and a Tree that records writes."""

import errno
import os
from pathlib import Path

import pytest

from wherry.cgroups import DEFAULT_DEVICE_RULES, Resources
from wherry.cgroups.files import Tree
from wherry.cgroups.layout import Layout, V1Mount
from wherry.cgroups.v1 import V1Cgroups

NAMES = ("cpu,cpuacct", "cpuset", "memory", "devices", "pids", "freezer")


class Recorder:
    """Replaces the writes and reads of Tree; directories are real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.files: dict[str, str] = {}
        self.refuse = ""
        make = Tree.mkdir
        recorder = self

        def mkdir(tree: Tree, group: str) -> None:
            make(tree, group)
            recorder.calls.append(f"mkdir {Path(tree.path).name}/{group}")

        def write(tree: Tree, file: str, *values: str) -> None:
            if recorder.refuse and recorder.refuse in file:
                raise OSError(errno.EINVAL, "refused", file)
            for value in values:
                recorder.files[file] = value
                recorder.calls.append(f"{file}={value}")

        monkeypatch.setattr(Tree, "mkdir", mkdir)
        monkeypatch.setattr(Tree, "write", write)
        monkeypatch.setattr(Tree, "read", lambda tree, file: recorder.files.get(file, ""))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.fixture
def cgroups(tmp_path: Path, recorder: Recorder) -> V1Cgroups:
    recorder.files["cpuset.cpus"], recorder.files["cpuset.mems"] = "0-3", "0"
    for name in (*NAMES, "systemd", "elogind"):
        (tmp_path / name).mkdir()
    mounts = [V1Mount(str(tmp_path / name), tuple(name.split(","))) for name in NAMES]
    named = [V1Mount(str(tmp_path / name), (), name) for name in ("systemd", "elogind")]
    return V1Cgroups(Layout("v1", (*mounts, *named), ""))


def test_controllers_and_trees(cgroups: V1Cgroups) -> None:
    assert cgroups.controllers == {"cpu", "cpuacct", "cpuset", "memory", "devices", "pids", "freezer"}
    assert len(cgroups.trees) == 7  # with name=systemd, without other named ones


def test_all_directories_come_before_the_first_limit(cgroups: V1Cgroups, recorder: Recorder) -> None:
    cgroups.create("wherry/a", Resources())
    recorder.calls.clear()
    cgroups.create("wherry/b", Resources(memory=8, memory_swap=16, pids_limit=3, devices=DEFAULT_DEVICE_RULES))
    directories = [call for call in recorder.calls if call.startswith("mkdir")]
    assert directories == [f"mkdir {name}/wherry/b" for name in (*NAMES, "systemd")]
    writes = [call for call in recorder.calls if "=" in call and not call.startswith("mkdir")]
    own = [call for call in writes if "cpuset" not in call]
    assert own[:4] == ["wherry/b/memory.limit_in_bytes=8", "wherry/b/memory.memsw.limit_in_bytes=16", "wherry/b/pids.max=3",
                       "wherry/b/devices.deny=a"]  # fmt: skip
    assert recorder.calls[: len(directories)] == directories


def test_the_first_group_makes_the_parent_inherit_cpusets(cgroups: V1Cgroups, recorder: Recorder) -> None:
    cgroups.create("wherry/a", Resources())
    wanted = ["wherry/cpuset.cpus=0-3", "wherry/cpuset.mems=0", "wherry/cgroup.clone_children=1"]
    at = recorder.calls.index(wanted[0])
    assert recorder.calls[at : at + 3] == wanted
    assert at < recorder.calls.index("mkdir cpuset/wherry/a")


@pytest.mark.parametrize("refuse", ["memory.limit", "devices.deny", "clone_children"])
def test_a_refused_write_leaves_no_group(cgroups: V1Cgroups, recorder: Recorder, tmp_path: Path, refuse: str) -> None:
    recorder.refuse = refuse
    with pytest.raises(OSError, match="refused"):
        cgroups.create("wherry/a", Resources(memory=8, devices=DEFAULT_DEVICE_RULES))
    assert [str(path) for path in tmp_path.glob("*/wherry/*")] == []


def test_a_limit_without_its_controller_is_an_error_and_a_warning_before(tmp_path: Path, recorder: Recorder) -> None:
    (tmp_path / "pids").mkdir()
    cgroups = V1Cgroups(Layout("v1", (V1Mount(str(tmp_path / "pids"), ("pids",)),), ""))
    with pytest.raises(OSError, match="memory is not mounted"):
        cgroups.create("wherry/a", Resources(memory=8))
    assert os.listdir(tmp_path / "pids/wherry") == []
    kept, warnings = cgroups.warnings(Resources(memory=8, cpu_shares=4))
    assert kept == Resources()
    assert len(warnings) == 2


def test_update_raises_swap_first_only_when_needed(cgroups: V1Cgroups, recorder: Recorder) -> None:
    group = cgroups.create("wherry/a", Resources())
    recorder.files["wherry/a/memory.memsw.limit_in_bytes"] = "100"
    recorder.calls.clear()
    group.update(Resources(memory=200, memory_swap=300))
    group.update(Resources(memory=50, memory_swap=80))
    memory, swap = "wherry/a/memory.limit_in_bytes=", "wherry/a/memory.memsw.limit_in_bytes="
    assert recorder.calls == [f"{swap}300", f"{memory}200", f"{memory}50", f"{swap}80"]
