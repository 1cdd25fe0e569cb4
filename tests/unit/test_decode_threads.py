"""Types are learnt by one thread: msgspec crashes the process when several meet a struct for the first time at once."""

import subprocess
import sys

SCRIPT = """
import sys, threading
sys.setswitchinterval(1e-6)
from wherry.api.decode import decode
from wherry.api.routes.containers import CreateBody
start = threading.Barrier(16)
def one():
    start.wait()
    decode(b'{"Image": "x", "HostConfig": {"Binds": ["/a:/b"]}}', CreateBody)
threads = [threading.Thread(target=one) for _ in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
print("whole")
"""


def test_first_use_by_many_threads() -> None:
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
