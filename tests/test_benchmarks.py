"""Benchmarks must not rot: each runs with its smallest size, and what it says has its shape. Nothing is timed."""

import json
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from benchmarks import chart, check, overhead, tables
from benchmarks.goals import goals, verdict
from benchmarks.growing import DIMENSIONS
from benchmarks.loads import LOADS
from benchmarks.results import Results
from benchmarks.variants import BARE, ELASTIC_APM, OURS, PLAIN, PROJECT, UNSAMPLED, UPSTREAM, VARIANTS

pytestmark = pytest.mark.current


def said_by(module, *arguments):
    """The stdout of `python -m benchmarks.<module>`."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "overhead.md"
    path.write_text((PROJECT / "docs" / "overhead.md").read_text(encoding="utf-8"), encoding="utf-8")
    return path


def rows(cpu, *, p99=1.0, setup=0.5):
    return [{"cpu": cpu, "p50": 0.5, "p99": p99, "p999": p99, "setup_cpu": setup}]


def results_with(ours):
    """A run in which upstream costs 1000 over plain, elastic-apm 500, the sketch 900."""
    costs = {
        BARE: 180.0,
        PLAIN: 200.0,
        UPSTREAM: 1200.0,
        ELASTIC_APM: 700.0,
        "first sketch": 1100.0,
        OURS: 200.0 + ours,
    }
    driven = {name: rows(cpu) for name, cpu in costs.items()} | {UNSAMPLED: rows(250.0)}
    driven[UPSTREAM] = rows(1200.0, setup=1.5)
    driven[OURS] = rows(200.0 + ours, p99=1.5, setup=1.0)
    served = {
        name: [{"start": 1.0, "exit": 0.1, "rss": rss, "loads": {"search": {"p50": 1.0, "p99": 2.0}}}]
        for name, rss in ((BARE, 70.0), (OURS, 100.0))
    }
    sent = {"search": {key: {"spans": 2.0, "points": 1.0, "records": 2.0, "bytes": 1900.0} for key in driven}}
    return Results("a run", "a machine", 100, 100.0, driven={"search": driven}, sent=sent, served=served)


def test_the_overhead_is_compared(tmp_path, document):
    saved = tmp_path / "results.json"
    smallest = ["--rounds", "1", "--requests", "5", "--loads", "search", "--served-rounds", "0"]
    text = said_by("overhead", *smallest, "--only", OURS, "--save", str(saved), "--write", str(document))
    results = Results.load(saved)
    assert set(results.driven["search"]) == {BARE, PLAIN, OURS}
    for measured in results.driven["search"].values():
        assert {"cpu", "p50", "p99", "p999", "setup_cpu"} <= measured[0].keys()
    assert results.sent["search"][PLAIN] == {"spans": 0, "points": 0, "records": 0, "bytes": 0}
    ours = results.sent["search"][OURS]
    assert ours["spans"] == 2  # server and Elasticsearch
    assert ours["records"] >= 2
    assert ours["points"] > 0
    assert "| otel-search |" in text
    assert text.strip() in document.read_text(encoding="utf-8")
    assert overhead.report(results).strip() == text.strip()


def test_an_application_is_measured_behind_a_server():
    results = Results("a run", "a machine", 0, 50.0)
    overhead.serve(results, [OURS], ["bulk"], rounds=1, seconds=0.2)
    (row,) = results.served[OURS]
    assert min(row["start"], row["exit"], row["rss"], row["loads"]["bulk"]["p99"]) > 0
    assert LOADS["bulk"].title in overhead.report(results)


@pytest.mark.parametrize("load", ["categories", "bulk"])
def test_every_load_can_be_driven(load):
    done = subprocess.run(
        VARIANTS[PLAIN].command("benchmarks.driver", "benchmarks.sketch:app", load, "2"),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RESULT " in done.stderr, done.stderr
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert {"request started", "request completed"} <= set(events)
    assert ("elasticsearch operation" in events) == (load == "bulk")


def test_the_growth_of_a_dimension_is_a_table_and_a_chart(document):
    text = said_by("growth", "--only", "bulk", "--sizes", "1", "--seconds", "0.05", "--write", str(document))
    assert "| items of a bulk request | 10 |" in text
    assert "| items of a bulk request | 10 |" in document.read_text(encoding="utf-8")
    ET.parse(document.parent / "images" / "growth.svg")


@pytest.mark.parametrize("name", [name for name, dimension in DIMENSIONS.items() if dimension.prepare])
def test_every_dimension_can_be_measured(name):
    size = str(DIMENSIONS[name].sizes[0])
    done = subprocess.run(
        VARIANTS[PLAIN].command("benchmarks.growing", name, size, "0.01"),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stderr.rpartition("RESULT ")[2])
    assert result.keys() == {"cpu", "p50", "p99"}


@pytest.mark.parametrize(
    ("module", "smallest", "row"),
    [
        ("elasticsearch", ["--rounds", "1", "--calls", "5"], "| otel-search, not sampled |"),
        ("logs", ["--rounds", "1", "--lines", "100", "--only", "everything"], "everything |"),
        ("parts", ["--rounds", "1", "--seconds", "0.001"], "| encoding a log record |"),
        ("redaction", ["--number", "1"], "query string"),
        (
            "shares",
            ["--rounds", "1", "--requests", "5", "--loads", "categories", "--only", "redaction"],
            "| without redaction |",
        ),
        (
            "shares",
            ["--rounds", "1", "--requests", "5", "--loads", "search", "--only", "both were"],
            "| if both were |",
        ),
        (
            "scrapes",
            ["--rounds", "1", "--seconds", "0.5", "--number", "3", "--workers", "1"],
            "p99 with over p99 without",
        ),
        ("viewer", ["--spans", "600"], "/searches/"),
    ],
)
def test_the_other_benchmarks_run(module, smallest, row):
    assert row in said_by(module, *smallest)


def test_goals_that_are_missed_are_said_to_be():
    reached = {goal.text: goal for goal in goals(results_with(ours=600.0))}
    assert reached["CPU overhead at most one fifth of upstream's"].reached == pytest.approx(0.6)
    assert not reached["less than elastic-apm"].is_met
    assert reached["unsampled at most a tenth of upstream's"].is_met
    assert reached["set-up at most 60 % of what upstream adds"].reached == pytest.approx(0.5)
    assert reached["at most 40 MB more than bare"].reached == pytest.approx(30)
    assert "2 of 7 goals are missed" in verdict(results_with(ours=600.0))
    assert "All goals are met" in verdict(results_with(ours=100.0))


def test_the_guard_sees_what_has_become_worse_and_leaves_room_for_noise():
    kept = check.figures(results_with(ours=400.0))
    assert check.worse(kept, kept) == []
    assert check.worse(kept, check.figures(results_with(ours=440.0))) == []
    (found,) = check.worse(kept, check.figures(results_with(ours=900.0)))
    assert f"{OURS}, {LOADS['search'].title}: CPU to upstream 0.9" in found


def test_what_the_repository_keeps_is_what_the_guard_compares():
    kept = json.loads(check.KEPT.read_text(encoding="utf-8"))["ratios"]
    assert set(kept) == {f"{name}, {load.title}" for name in (OURS, UNSAMPLED) for load in LOADS.values()}
    assert all(ratios.keys() == check.ROOM.keys() for ratios in kept.values())


def test_only_the_generated_part_of_a_document_is_replaced(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- generated: a -->\nold\n<!-- end: a -->\nafter\n", encoding="utf-8")
    tables.write_part(path, "a", r"new \1")
    assert path.read_text(encoding="utf-8") == "before\n<!-- generated: a -->\nnew \\1\n<!-- end: a -->\nafter\n"
    with pytest.raises(SystemExit, match="has no part `b`"):
        tables.write_part(path, "b", "")


def test_a_chart_holds_costs_below_nothing_and_a_single_point():
    drawing = chart.drawn([chart.Panel("a < b", [(10, 5.0), (1000, -3.0)]), chart.Panel("c", [(1, 70.0)])], "µs")
    assert "nan" not in drawing
    ET.fromstring(drawing)
