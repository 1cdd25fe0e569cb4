"""Steps as failpoints and as a record of what there is to fail at."""

import os
import subprocess
import sys

SCRIPT = """
import sys
from wherry.model.steps import set_process, step
set_process("monitor")
with step("first part"):
    print("in first", flush=True)
with step("second"):
    print("in second", flush=True)
"""


def run(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT], env={**os.environ, **env}, capture_output=True, text=True)


def test_kill_before_and_after() -> None:
    before = run(WHERRY_FAILPOINT="monitor:second:before:kill")
    assert (before.returncode, before.stdout) == (-9, "in first\n")
    after = run(WHERRY_FAILPOINT="monitor:first:after:kill")
    assert (after.returncode, after.stdout) == (-9, "in first\n")


def test_error_names_the_failpoint() -> None:
    failed = run(WHERRY_FAILPOINT="monitor:second:before:error")
    assert failed.returncode == 1 and "failpoint before second" in failed.stderr


def test_another_process_is_not_meant() -> None:
    assert run(WHERRY_FAILPOINT="init:second:before:kill").returncode == 0


def test_record_of_steps() -> None:
    recorded = run(WHERRY_STEPS_LOG="1")
    assert recorded.returncode == 0
    assert recorded.stderr == "step\tmonitor\tfirst part\nstep\tmonitor\tsecond\n"
