"""The init in real namespaces: what the program sees when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from inithelp import busybox_rootfs, plain_command, run_init, tree


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_rootfs(tmp_path_factory.mktemp("init") / "rootfs")


def test_runs_a_program_and_reports_its_exit_code(rootfs: Path) -> None:
    result = run_init(plain_command(["sh", "-c", "echo hi; echo oops >&2; exit 7"]), [tree(rootfs)])
    assert (result.code, result.out, result.err, result.failed) == (7, "hi\n", "oops\n", None)
    assert result.ready is not None
