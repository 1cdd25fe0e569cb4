"""Rows of results, the machine's facts, and how they are written: JSON, Markdown, and an SVG plot drawn by hand."""

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

TOP = Path(__file__).parents[1]
COLOURS = {"wherry": "#1f77b4", "docker": "#bbbbbb", "runc": "#e2a04a"}


@dataclass
class Row:
    """One line of the table: samples by engine, and whether more or less is better."""

    title: str
    unit: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    more_is_better: bool = False

    def median(self, engine: str) -> float | None:
        return statistics.median(self.samples[engine]) if self.samples.get(engine) else None

    def ratio(self, engine: str) -> float | None:
        """How many times better ours is than `engine`."""
        ours, other = self.median("wherry"), self.median(engine)
        if not ours or not other:
            return None
        return ours / other if self.more_is_better else other / ours

    def cell(self, engine: str) -> str:
        values = self.samples.get(engine)
        if not values:
            return "–"
        middle = f"{statistics.median(values):.{1 if statistics.median(values) < 100 else 0}f}"
        return middle if len(values) == 1 else f"{middle} ({min(values):.1f}–{max(values):.1f})"


def machine() -> dict[str, str]:
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    v1 = [mount for mount in mounts if mount[2] == "cgroup"]
    v2 = [mount for mount in mounts if mount[2] == "cgroup2"]
    favour = any("favordynmods" in mount[3] for mount in v1 + v2)
    commit = subprocess.run(["git", "-C", str(TOP), "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit or "?",
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cgroups": "hybrid" if v1 and v2 else "v1" if v1 else "v2",
        "favordynmods": "yes" if favour else "no",
        "load before": " ".join(Path("/proc/loadavg").read_text().split()[:3]),
    }


def markdown(rows: list[Row], engines: dict[str, str], facts: dict[str, str]) -> str:
    others = [name for name in engines if name != "wherry"]
    lines = ["# Benchmark", "", *(f"- {key}: {value}" for key, value in {**facts, **{f"{k} version": v for k, v in engines.items()}}.items()), ""]
    lines += ["Medians (least–greatest). Ratios: how many times better wherry is.", ""]
    header = ["work", "unit", *engines, *(f"vs {name}" for name in others)]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        ratios = [f"**{ratio:.1f}×**" if (ratio := row.ratio(name)) else "" for name in others]
        lines.append("| " + " | ".join([row.title, row.unit, *(row.cell(name) for name in engines), *ratios]) + " |")
    return "\n".join(lines) + "\n"


def svg(rows: list[Row], engines: dict[str, str], facts: dict[str, str]) -> str:
    """One group of bars per row, each drawn relative to the row's longest bar, with its figure beside it."""
    left, width, bar, gap = 330, 420, 12, 12
    y = 54
    parts: list[str] = []
    for row in rows:
        present = [name for name in engines if row.median(name)]
        longest = max((row.median(name) or 0 for name in present), default=0)
        if not longest:
            continue
        height = len(present) * bar
        parts.append(f'<text x="{left - 10}" y="{y + height / 2 + 4:.0f}" text-anchor="end">{escape(row.title)}</text>')
        for name in present:
            value, colour = row.median(name) or 0, COLOURS.get(name, "#888")
            parts.append(f'<rect x="{left}" y="{y}" width="{max(value / longest * width, 1):.1f}" height="{bar - 2}" fill="{colour}"/>')
            ratio = row.ratio(name)
            note = f"{value:.1f} {row.unit}" + (f" ({ratio:.1f}×)" if ratio and name != "wherry" else "")
            parts.append(f'<text x="{left + value / longest * width + 6:.1f}" y="{y + bar - 3}" font-size="10">{escape(note)}</text>')
            y += bar
        y += gap
    legend = "".join(f'<rect x="{left + n * 110}" y="28" width="10" height="10" fill="{COLOURS.get(name, "#888")}"/>'
                     f'<text x="{left + 15 + n * 110}" y="37">{escape(name)} {escape(version)}</text>'
                     for n, (name, version) in enumerate(engines.items()))  # fmt: skip
    title = f'<text x="10" y="18" font-weight="bold">{escape(facts["date"])}, {escape(facts["cpu"])}, kernel {escape(facts["kernel"])}</text>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 160}" height="{y + 10}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{title}{legend}{"".join(parts)}</svg>\n')  # fmt: skip


def write(directory: Path, name: str, rows: list[Row], engines: dict[str, str], facts: dict[str, str]) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    document = {"machine": facts, "engines": engines, "rows": [
        {"title": row.title, "unit": row.unit, "more_is_better": row.more_is_better, "samples": row.samples,
         "ratios": {other: row.ratio(other) for other in engines if other != "wherry"}} for row in rows]}  # fmt: skip
    texts = {
        ".json": json.dumps(document, indent=1),
        ".md": f"{markdown(rows, engines, facts)}\n![plot]({name}.svg)\n",
        ".svg": svg(rows, engines, facts),
    }
    for suffix, text in texts.items():
        (directory / f"{name}{suffix}").write_text(text)
    return [directory / f"{name}{suffix}" for suffix in texts]
