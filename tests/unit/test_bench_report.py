"""The bench's table and plot: what they say follows from the samples."""

import importlib.util
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

FACTS = {"date": "today", "cpu": "2 x <cpu>", "kernel": "6"}


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_report", Path(__file__).parents[2] / "bench/report.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_report"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_ratios_say_how_many_times_better_ours_is(report: ModuleType) -> None:
    less = report.Row("time", "ms", {"wherry": [10, 30, 20], "docker": [100, 200, 300]})
    more = report.Row("speed", "MB/s", {"wherry": [300], "docker": [100]}, more_is_better=True)
    assert (less.ratio("docker"), more.ratio("docker"), more.ratio("runc")) == (10, 3, None)
    text = report.markdown([less, more], {"wherry": "1", "docker": "2"}, FACTS)
    assert "| time | ms | 20.0 (10.0–30.0) | 200 (100.0–300.0) | **10.0×** |" in text
    assert "| speed | MB/s | 300 | 100 | **3.0×** |" in text


def test_files(report: ModuleType, tmp_path: Path) -> None:
    rows = [report.Row("a < b", "ms", {"wherry": [1.0], "docker": [4.0]}), report.Row("empty", "ms")]
    written = report.write(tmp_path, "x", rows, {"wherry": "1", "docker": "2"}, FACTS)
    assert [path.name for path in written] == ["x.json", "x.md", "x.svg"]
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["rows"][0]["ratios"] == {"docker": 4.0} and document["rows"][1]["ratios"] == {"docker": None}
    plot = ElementTree.parse(tmp_path / "x.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(each.attrib["width"]) for each in plot.iter(f"{space}rect") if each.attrib.get("x") == "330" and each.attrib["y"] != "28"]
    assert bars == [105.0, 420.0]
