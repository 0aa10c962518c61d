"""Every way of serving: each request is one span and one event, each worker is somebody of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.service import APPS, BIN, Service, eventually, serve

GUNICORN = [
    *(str(BIN / "gunicorn"), "telling:app", "--worker-class", "uvicorn.workers.UvicornWorker"),
    *("--bind", "127.0.0.1:{port}", "--no-control-socket"),
]
FEW = 60
MANY = 400

# On a busy machine a worker may need longer for its start than the supervisor's patience, 5 s.
PATIENT = ["--timeout-worker-healthcheck", "60"]

WAYS: dict[str, tuple[list[str], list[str] | None, int, int]] = {
    # arguments of uvicorn, or another command; processes that serve; requests
    "uvicorn": ([], None, 1, FEW),
    "uvicorn --workers": (["--workers", "3", *PATIENT], None, 3, MANY),
    "gunicorn": ([], [*GUNICORN, "--workers", "3"], 3, MANY),
    "gunicorn --preload": ([], [*GUNICORN, "--workers", "3", "--preload"], 3, MANY),
}


def send(service: Service, count: int, first: int = 0) -> Counter[int]:
    """Make so many requests, each on a connection of its own; which process answered how many."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=service.url, timeout=30, limits=limits) as client, ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: client.get(f"/items/{number}"), range(first, first + count)))
    assert [reply.status_code for reply in replies] == [200] * count
    return Counter(reply.json()["pid"] for reply in replies)


class Run:
    """A service that has answered its requests and has ended."""

    def __init__(self, service: Service, workers: int, requests: int, by_process: Counter[int]) -> None:
        self.service = service
        self.recording = service.recording
        self.workers = workers
        self.requests = requests
        self.by_process = by_process
        self.server_spans = [span for span in self.recording.spans if span.kind == "SERVER"]
        self.access_records = [record for record in self.recording.logs if record.scope == "otel_search.access"]
        self.durations = self.recording.latest("http.server.request.duration")


def started(service: Service) -> int:
    return len(service.events(event="Application startup complete."))


@pytest.fixture(scope="module", params=WAYS)
def run(request: pytest.FixtureRequest) -> Run:
    arguments, command, workers, requests = WAYS[request.param]
    with serve("telling:app", *arguments, command=command) as service:
        eventually(lambda: started(service) == workers)
        by_process = send(service, requests)
        service.stop()
        return Run(service, workers, requests, by_process)


def instance(item: object) -> str:
    return item.resource["service.instance.id"]  # type: ignore[attr-defined]


def test_every_request_is_one_server_span(run: Run) -> None:
    assert len(run.server_spans) == run.requests
    assert len({span.span_id for span in run.recording.spans}) == len(run.recording.spans)


def test_every_request_is_one_event_on_stdout_and_in_otlp(run: Run) -> None:
    paths = {f"/items/{number}" for number in range(run.requests)}
    lines = run.service.events(event="request completed")
    assert Counter(line["url.path"] for line in lines) == dict.fromkeys(paths, 1)
    assert Counter(record.attributes["url.path"] for record in run.access_records) == dict.fromkeys(paths, 1)


def test_the_applications_own_lines_are_one_event_each(run: Run) -> None:
    expected = dict.fromkeys((f"item {number}" for number in range(run.requests)), 1)
    assert Counter(line["event"] for line in run.service.events(logger="app")) == expected
    assert Counter(record.body for record in run.recording.logs if record.scope == "app") == expected


def test_the_requests_are_counted_exactly(run: Run) -> None:
    assert sum(point.count for point in run.durations) == run.requests


def test_every_process_is_an_instance_of_its_own_and_the_same_in_all_signals(run: Run) -> None:
    spans, logs = Counter(map(instance, run.server_spans)), Counter(map(instance, run.access_records))
    points: Counter[str] = Counter()
    for point in run.durations:
        points[instance(point)] += point.count
    assert spans == logs == points
    assert sorted(spans.values()) == sorted(run.by_process.values())
    assert len(spans) <= run.workers


def test_a_supervisor_sends_nothing_of_requests(run: Run) -> None:
    about_start = {instance(record) for record in run.recording.logs if "arent process" in str(record.body)}
    about_start |= {instance(record) for record in run.recording.logs if record.scope == "gunicorn.error"}
    serving = {instance(span) for span in run.server_spans}
    assert bool(about_start - serving) == (run.workers > 1)
    supervisors = about_start - serving
    signals = {record.scope for record in run.recording.logs if instance(record) in supervisors}
    assert signals <= {"uvicorn.error", "gunicorn.error"}
    names = {point.name for point in run.recording.metrics if instance(point) in supervisors}
    assert not [name for name in names if name.startswith("http.")]


def test_no_process_is_set_up_twice_and_none_beside_them(run: Run) -> None:
    everything = [*run.recording.spans, *run.recording.logs, *run.recording.metrics]
    assert len({instance(item) for item in everything}) == run.workers + (run.workers > 1)
    assert run.service.error_lines == []
    assert [event for event in run.service.events() if event["level"] in ("warning", "error")] == []


# -- reloading --------------------------------------------------------------------------------


def test_across_a_reload_every_request_is_one_span_and_one_event(tmp_path: Path) -> None:
    source = (APPS / "telling.py").read_text()
    (tmp_path / "reloaded.py").write_text(source)
    arguments = ["--app-dir", str(tmp_path), "--reload", "--reload-dir", str(tmp_path)]
    with serve("reloaded:app", *arguments) as service:
        before = send(service, 30)
        (tmp_path / "reloaded.py").write_text(source.replace('"ok"', '"new"'))
        eventually(lambda: started(service) == 2)
        after = send(service, 30, first=30)
        assert before.keys().isdisjoint(after.keys())
        service.stop()
        spans = [span for span in service.recording.spans if span.kind == "SERVER"]
        assert Counter(map(instance, spans)).most_common() == [(instance(spans[0]), 30), (instance(spans[-1]), 30)]
        access = [record.attributes["url.path"] for record in service.recording.logs if record.scope.endswith("access")]
        assert Counter(access) == dict.fromkeys((f"/items/{number}" for number in range(60)), 1)
        assert sum(point.count for point in service.recording.latest("http.server.request.duration")) == 60
        assert {event["level"] for event in service.events()} == {"info", "warning"}
        warnings = service.events(level="warning")
        assert len(warnings) == 1  # the reloader's own
        assert "detected changes" in warnings[0]["event"]
        assert service.error_lines == []


# -- an instance id that the user has given ---------------------------------------------------


@pytest.mark.parametrize("way", ["uvicorn --workers", "gunicorn --preload"])
def test_a_given_instance_id_is_kept_and_made_unique_for_each_worker_and_that_is_said(way: str) -> None:
    arguments, command, workers, _ = WAYS[way]
    env = {"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=web-1"}
    with serve("telling:app", *arguments, command=command, env=env) as service:
        eventually(lambda: started(service) == workers)
        by_process = send(service, FEW)
        service.stop()
        expected = {f"web-1-{pid}": count for pid, count in by_process.items()}
        spans = [span for span in service.recording.spans if span.kind == "SERVER"]
        access = [record for record in service.recording.logs if record.scope == "otel_search.access"]
        points = service.recording.latest("http.server.request.duration")
        assert Counter(map(instance, spans)) == expected
        assert Counter(map(instance, access)) == expected
        assert {instance(point): point.count for point in points} == expected
        said = [event["event"] for event in service.events(level="warning")]
        pattern = r"service\.instance\.id=web-1 is shared by all workers, which need one each: this one is (web-1-\d+)"
        named = {match[1] for line in said if (match := re.fullmatch(pattern, line))}
        assert len(said) == len(named) == workers
        assert named >= expected.keys()
        others = {instance(item) for item in [*service.recording.logs, *service.recording.metrics]}
        assert others - named == {"web-1"}  # the supervisor's


# -- forks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forked() -> Recording:
    """What a program sent that forked children after its connections were open."""
    recording = Recording()
    with Receiver(recording.add) as receiver:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))
        }
        process = subprocess.Popen(
            [BIN / "opentelemetry-instrument", sys.executable, APPS / "forking.py"],
            env={
                **environment,
                "OTEL_PYTHON_DISTRO": "otel_search",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "60000",
                "OTEL_BLRP_SCHEDULE_DELAY": "60000",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        recording.wait_for(lambda seen: seen.spans and seen.logs)
        output, _ = process.communicate("go\n", timeout=60)
        assert process.returncode == 0, output
        assert "telemetry" not in output, output
    return recording


WHO = ["parent", *(f"child {number}" for number in range(4))]
ROUNDS = 25


def test_over_a_fork_no_connection_is_shared_and_nothing_lost(forked: Recording) -> None:
    expected = Counter({"before": 1, **{f"{who} {number}": 1 for who in WHO for number in range(ROUNDS)}})
    assert Counter(span.name for span in forked.spans) == expected
    assert Counter(record.body for record in forked.logs if record.scope == "app") == expected


def test_over_a_fork_measurements_of_the_parent_are_not_reported_again(forked: Recording) -> None:
    sums: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for point in forked.latest("rounds"):
        sums[instance(point)][point.attributes["who"]] = point.value
    assert sorted(map(repr, sums.values())) == sorted(
        [repr({"before": 1000.0, "parent": 25.0}), *(repr({f"child {number}": 25.0}) for number in range(4))]
    )
