"""Measures wherry, a Docker engine (--against) and bare runc side by side, and prints the ratios.

    make bench AGAINST=unix:///var/run/docker.sock
    python bench [--against unix://...] [--repeat N] [--only WORD] [--quick] [--out DIR] [--name NAME]

Engines take turns within each round, in alternating order, so that both see the same state of the machine. Each kind of run is
measured back to back and with 100 ms of idleness before each: kernel waits that the first rhythm hides show in the second.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import memory  # noqa: E402
import workloads  # noqa: E402
from engines import PREFIX, Engine, Runc, Wherry, image_archive, retagged  # noqa: E402
from report import Row, machine, markdown, write  # noqa: E402

RHYTHMS = (("back to back", 0.0), ("100 ms idle", 0.1))


class Bench:
    def __init__(self, engines: list[Engine], runc: Runc | None, arguments: argparse.Namespace) -> None:
        self.engines, self.runc, self.arguments, self.rows = engines, runc, arguments, []

    rows: list[Row]

    def wanted(self, title: str) -> bool:
        return not self.arguments.only or self.arguments.only in title

    def row(self, title: str, unit: str, more_is_better: bool = False) -> Row:
        self.rows.append(Row(title, unit, {}, more_is_better))
        print(f"  {title} ...", file=sys.stderr, flush=True)
        return self.rows[-1]

    def rounds(self, title: str, work: Callable[[Engine], float], bare: bool = False, repeat: int | None = None) -> None:
        """Both rhythms of one kind of work that is timed in seconds."""
        for rhythm, idle in RHYTHMS:
            if not self.wanted(f"{title}, {rhythm}"):
                continue
            row = self.row(f"{title}, {rhythm}", "ms")
            turns: list[tuple[str, Callable[[], float]]] = [(engine.name, lambda e=engine: work(e)) for engine in self.engines]  # type: ignore[misc]
            if bare and self.runc:
                turns.append(("runc", lambda: workloads.timed(self.runc.run)))  # type: ignore[union-attr]
            for n in range((repeat or self.arguments.repeat) + 1):
                for name, turn in turns if n % 2 else reversed(turns):
                    time.sleep(idle)
                    took = turn()
                    if n:  # the first round warms up
                        row.samples.setdefault(name, []).append(took * 1000)

    def starts(self) -> None:
        self.rounds("client and daemon round trip (version)", workloads.cli_version)
        for network in ("bridge", "none", "host"):
            self.rounds(f"run --rm, {network}", lambda engine, n=network: workloads.cli_run(engine, n), bare=network == "none")  # type: ignore[misc]
        for network in ("bridge", "none"):
            self.rounds(f"API create+start+wait+remove, {network}", lambda engine, n=network: workloads.api_life(engine, n))  # type: ignore[misc]

    def execs(self) -> None:
        if not (self.wanted("exec, CLI") or self.wanted("exec, API")):
            return
        for engine in self.engines:
            engine.request("POST", f"/containers/{engine.create('exec', ['sleep', '3600'])}/start")
        self.rounds("exec, CLI", lambda engine: workloads.cli_exec(engine, f"{PREFIX}exec"))
        self.rounds("exec, API", lambda engine: workloads.api_exec(engine, f"{PREFIX}exec"))
        for engine in self.engines:
            engine.remove_all()

    def many(self) -> None:
        count, width = (5, 4) if self.arguments.quick else (20, 8)
        for network in ("bridge", "none"):
            if self.wanted(f"run -d, {network}"):
                made, gone = self.row(f"{count} × run -d, {network}, each", "ms"), self.row(f"rm -f, {network}, each", "ms")
                for engine in self.engines:
                    for row, seconds in zip((made, gone), workloads.runs_and_removals(engine, network, count), strict=True):
                        row.samples[engine.name] = [value * 1000 for value in seconds]
            if self.wanted(f"in parallel, {network}"):
                row = self.row(f"{2 * count} × run -d, {width} in parallel, {network}", "per s", more_is_better=True)
                for n in range(1 if self.arguments.quick else 3):
                    for engine in self.engines if n % 2 else reversed(self.engines):
                        row.samples.setdefault(engine.name, []).append(workloads.parallel_runs(engine, network, 2 * count, width))

    def logs(self) -> None:
        if not self.wanted("log throughput"):
            return
        size = 20 if self.arguments.quick else 200
        names = ("json-file written", "logs read", "attached, no log")
        rows = {name: self.row(f"{size} MB of 100-byte lines: {name}", "MB/s", more_is_better=True) for name in names}
        for _ in range(1 if self.arguments.quick else 3):
            for engine in self.engines:
                for name, speed in workloads.log_throughput(engine, size).items():
                    rows[name].samples.setdefault(engine.name, []).append(speed)

    def memory(self) -> None:
        if not self.wanted("memory"):
            return
        rows = {"monitor or shim": self.row("memory: monitor or shim of an idle container", "MiB"),
                "per container": self.row("memory: whole engine, growth per idle container", "MiB"),
                "engine": self.row("memory: engine without containers", "MiB")}  # fmt: skip
        for engine in self.engines:
            for name, value in memory.measure(engine, 5 if self.arguments.quick else 20).items():
                rows[name].samples[engine.name] = [value]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="unix://SOCKET", help="a Docker engine to compare with")
    parser.add_argument("--without-wherry", action="store_true", help="measure the others only")
    parser.add_argument("--repeat", type=int, default=15, metavar="N", help="rounds of each kind (15)")
    parser.add_argument("--only", metavar="WORD", help="only rows whose title has WORD")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that the bench works, not how fast anything is")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", metavar="DIR")
    parser.add_argument("--name", default=time.strftime("%Y-%m-%d-%H%M"), help="of the files written (date and time)")
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("bench: containers need root")
    if arguments.quick:
        arguments.repeat = 3
    archive = image_archive()
    facts = machine()
    engines: list[Engine] = [] if arguments.without_wherry else [Wherry()]
    if arguments.against:
        engines.append(Engine("docker", arguments.against.removeprefix("unix://"), "docker"))
    runc = Runc(archive)
    bench = Bench(engines, runc, arguments)
    try:
        for engine in engines:
            engine.load(retagged(archive))
            engine.remove_all()
        for part in (bench.starts, bench.execs, bench.many, bench.logs, bench.memory):
            part()
        versions = {**{engine.name: engine.version() for engine in engines}, "runc": runc.version()}
    finally:
        for engine in engines:
            engine.close()
        runc.close()
    print(markdown(bench.rows, versions, facts))
    print("written:", *write(arguments.out, arguments.name, bench.rows, versions, facts), sep="\n  ")


if __name__ == "__main__":
    main()
