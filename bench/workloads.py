"""The work that is measured: each function does one unit of it and returns seconds (or another figure, as its row says)."""

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from engines import IMAGE, PREFIX, Engine


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cli_run(engine: Engine, network: str) -> float:
    """`run --rm busybox true`, from the start of the client to its end."""
    return timed(lambda: engine.cli("run", "--rm", "--network", network, IMAGE, "true"))


def cli_version(engine: Engine) -> float:
    return timed(lambda: engine.cli("version"))


def api_life(engine: Engine, network: str) -> float:
    """create + start + wait + remove over one kept-alive connection."""
    began = time.perf_counter()
    container = engine.create("life", ["true"], network)
    engine.request("POST", f"/containers/{container}/start")
    code = json.loads(engine.request("POST", f"/containers/{container}/wait"))["StatusCode"]
    engine.request("DELETE", f"/containers/{container}")
    took = time.perf_counter() - began
    if code != 0:
        raise RuntimeError(f"{engine.name}: the program ended with {code}")
    return took


def cli_exec(engine: Engine, container: str) -> float:
    return timed(lambda: engine.cli("exec", container, "true"))


def api_exec(engine: Engine, container: str) -> float:
    """exec create, attached start until its stream ends, and inspect for the exit code."""
    began = time.perf_counter()
    job = json.loads(engine.request("POST", f"/containers/{container}/exec", {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}))["Id"]
    stream = engine.fresh()
    stream.request("POST", f"/exec/{job}/start", b'{"Detach":false,"Tty":false}', {"Content-Type": "application/json"})
    stream.getresponse().read()
    code = json.loads(engine.request("GET", f"/exec/{job}/json"))["ExitCode"]
    took = time.perf_counter() - began
    stream.close()
    if code != 0:
        raise RuntimeError(f"{engine.name}: exec ended with {code}")
    return took


def runs_and_removals(engine: Engine, network: str, count: int) -> tuple[list[float], list[float]]:
    """`run -d` one after another, then `rm -f` one after another."""
    names = [f"{PREFIX}row{n}" for n in range(count)]
    made = [timed(lambda n=name: engine.cli("run", "-d", "--network", network, "--name", n, IMAGE, "sleep", "600")) for name in names]  # type: ignore[misc]
    gone = [timed(lambda n=name: engine.cli("rm", "-f", n)) for name in names]  # type: ignore[misc]
    return made, gone


def parallel_runs(engine: Engine, network: str, count: int, width: int) -> float:
    """Containers per second: `run -d`, `width` at a time."""

    def one(n: int) -> None:
        engine.cli("run", "-d", "--network", network, "--name", f"{PREFIX}par{n}", IMAGE, "sleep", "600")

    with ThreadPoolExecutor(width) as pool:
        took = timed(lambda: list(pool.map(one, range(count))))
    engine.remove_all()
    return count / took


def writer(megabytes: int) -> list[str]:
    """A program that writes `megabytes` of 100-byte lines as fast as a pipe takes them."""
    line = "x" * 99
    return ["sh", "-c", f"yes {line} | head -c 5000000 >/lines; n={megabytes // 5}; while [ $n -gt 0 ]; do cat /lines; n=$((n-1)); done"]


def log_throughput(engine: Engine, megabytes: int) -> dict[str, float]:
    """MB/s of output written through the json-file log, read back by `logs`, and attached without a log."""
    container = engine.create("logs", writer(megabytes), LogConfig={"Type": "json-file"})
    began = time.perf_counter()
    engine.request("POST", f"/containers/{container}/start")
    engine.request("POST", f"/containers/{container}/wait")
    written = megabytes / (time.perf_counter() - began)

    began = time.perf_counter()
    reader = subprocess.Popen([engine.program, "logs", container], stdout=subprocess.PIPE, env=engine.env)
    assert reader.stdout
    size = 0
    while chunk := reader.stdout.read(1 << 20):
        size += len(chunk)
    if reader.wait() or size != megabytes * 1_000_000:
        raise RuntimeError(f"{engine.name}: logs gave {size} of {megabytes * 1_000_000} bytes")
    read = megabytes / (time.perf_counter() - began)
    engine.request("DELETE", f"/containers/{container}?force=1")

    took = timed(lambda: engine.cli("run", "--rm", "--log-driver", "none", IMAGE, *writer(megabytes)))
    return {"json-file written": written, "logs read": read, "attached, no log": megabytes / took}
