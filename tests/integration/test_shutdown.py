"""However a process ends, what it has recorded leaves, once, and the process ends as it would without us.

Nothing is exported while these services run: all delays are longer than the tests, so what arrives
was sent at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.service import BIN, Service, eventually, free_port, serve

AT_THE_END = {
    "OTEL_BSP_SCHEDULE_DELAY": "600000",
    "OTEL_BLRP_SCHEDULE_DELAY": "600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "600000",
}
GUNICORN = [str(BIN / "gunicorn"), "ending:app", "--bind", "127.0.0.1:{port}", "--no-control-socket"]
UVICORN_WORKER = ["--worker-class", "uvicorn.workers.UvicornWorker"]
# On a busy machine a worker may need longer for its start than the supervisor's patience, 5 s; and a supervisor
# that has asked a worker at its very end waits for the answer as long as its patience lasts.
WORKERS = ["--workers", "2", "--timeout-worker-healthcheck", "15"]
REQUESTS = 5


@contextmanager
def served(*arguments: str, env: dict[str, str] | None = None, **kwargs: Any) -> Iterator[Service]:
    with serve("ending:app", *arguments, env={**AT_THE_END, **(env or {})}, **kwargs) as service:
        yield service


def items(service: Service, count: int = REQUESTS) -> Counter[int]:
    return Counter(service.get(f"/items/{number}").json() for number in range(count))


def by_signals(*numbers: int) -> Callable[[Service], int]:
    """Send one signal, and the next ones when the server is stopping."""

    def end(service: Service) -> int:
        items(service)
        # Keeps the server stopping for a moment, or until it is forced to leave it.
        service.get("/later/1" + ("?seconds=60" if numbers == (INT, INT) else ""))
        service.process.send_signal(numbers[0])
        for number in numbers[1:]:
            eventually(lambda: any("Shutting down" in line for line in [*service.lines, *service.error_lines]))
            service.process.send_signal(number)
        status = service.process.wait(30)
        service.stop()
        return status

    return end


def by_limit(service: Service) -> int:
    items(service, REQUESTS - 1)
    service.get("/later/1")
    service.get(f"/items/{REQUESTS - 1}")
    return service.stop(0)  # no signal


TERM, INT = signal.SIGTERM, signal.SIGINT

ENDS: dict[str, tuple[list[str], Callable[[Service], int]]] = {
    "SIGTERM": ([], by_signals(TERM)),
    "SIGINT": ([], by_signals(INT)),
    "SIGTERM twice": ([], by_signals(TERM, TERM)),
    "SIGINT twice": ([], by_signals(INT, INT)),
    "SIGTERM without lifespan": (["--lifespan", "off"], by_signals(TERM)),
    # Being asked whether it is ready is a request, too, and there are one at "/later" and those at "/items".
    "a limit of requests": (["--limit-max-requests", str(REQUESTS + 2)], by_limit),
}


def assert_all_arrived_once(recording: Recording, *, closed: bool, requests: int = REQUESTS, later: int = 1) -> None:
    """What was recorded in the requests, after them and at the end is there, each once."""
    paths = Counter(span.attributes["url.path"] for span in recording.spans if span.kind == "SERVER")
    expected = {f"/items/{number}": 1 for number in range(requests)} | ({"/later/1": 1} if later else {})
    assert paths == expected
    access = [record.attributes["url.path"] for record in recording.logs if record.scope == "otel_search.access"]
    assert Counter(access) == expected
    own = Counter(record.body for record in recording.logs if record.scope == "app")
    assert {body: count for body, count in own.items() if body.startswith("item")} == {
        f"item {number}": 1 for number in range(requests)
    }
    assert own["closing"] == Counter(span.name for span in recording.spans)["closing"] == int(closed)
    assert len({span.span_id for span in recording.spans}) == len(recording.spans)
    assert sum(point.count for point in recording.latest("http.server.request.duration")) == len(expected)


def last_words(recording: Recording, scope: str) -> list[str]:
    """What was logged, in its order and without process ids."""
    records = sorted((record for record in recording.logs if record.scope == scope), key=lambda record: record.time)
    return [record.body.split(" [")[0] for record in records]


@pytest.mark.parametrize("end", ENDS)
def test_everything_leaves_and_the_process_ends_as_without_us(end: str) -> None:
    arguments, how = ENDS[end]
    with ExitStack() as stack:
        bare = stack.enter_context(served(*arguments, launcher=False))
        service = stack.enter_context(served(*arguments))
        assert how(service) == how(bare)
        forced = end == "SIGINT twice"
        closed = "without lifespan" not in end and not forced
        assert_all_arrived_once(service.recording, closed=closed)
        names = [span.name for span in service.recording.spans]
        if not forced:  # then uvicorn does not wait for what runs in the background
            assert names.count("later 1") == 1
        said = last_words(service.recording, "uvicorn.error")
        assert "Finished server process" in said if forced else said[-1] == "Finished server process"
        assert service.error_lines == []


def test_an_own_handler_and_own_atexit_work_as_without_us() -> None:
    own = {"OWN": "handler,atexit"}
    with served(env=own, launcher=False) as bare, served(env=own) as service:
        items(service)
        assert service.stop() == bare.stop() == 7
        assert_all_arrived_once(service.recording, closed=True, later=0)
        assert last_words(service.recording, "app")[-3:] == ["closing", "own handler", "own atexit"]
        assert service.error_lines == []


# -- supervised workers -----------------------------------------------------------------------


def started(service: Service) -> int:
    return len(service.events(event="Application startup complete."))


def test_all_workers_of_uvicorn_send_what_they_have() -> None:
    with served(*WORKERS) as service:
        eventually(lambda: started(service) == 2)
        items(service)
        assert service.stop(INT) == 0  # the supervisor's status, as without us
        recording = service.recording
        assert sum(span.kind == "SERVER" for span in recording.spans) == REQUESTS
        bodies = Counter(record.body.split(" [")[0] for record in recording.logs if record.scope == "uvicorn.error")
        assert bodies["Finished server process"] == 2
        assert bodies["Stopping parent process"] == 1
        assert service.error_lines == []


GUNICORNS = {
    "gunicorn --preload": [*UVICORN_WORKER, "--preload"],
    "gunicorn without lifespan": ["--worker-class", "without_lifespan.WithoutLifespan"],
}


@pytest.mark.parametrize("way", GUNICORNS)
def test_all_workers_of_gunicorn_send_what_they_have(way: str) -> None:
    command = [*GUNICORN, *GUNICORNS[way], "--workers", "2"]
    with served(command=command) as service:
        serving: set[int] = set()
        eventually(lambda: serving.add(service.get("/health").json()) or len(serving) == 2)
        items(service)
        assert service.stop() == 0  # the supervisor's status, as without us
        recording = service.recording
        assert sum(span.kind == "SERVER" for span in recording.spans) == REQUESTS
        assert sum(point.count for point in recording.latest("http.server.request.duration")) == REQUESTS
        bodies = Counter(record.body.split(" [")[0] for record in recording.logs)
        assert bodies["Finished server process"] == 2
        assert bodies["Shutting down: Master"] == 1
        assert bodies["closing"] == (0 if "without" in way else 2)
        assert service.error_lines == []


def test_workers_that_gunicorn_recycles_send_what_they_have() -> None:
    command = [*GUNICORN, *UVICORN_WORKER, "--workers", "1", "--max-requests", "3"]
    with served(command=command) as service:
        processes: Counter[int] = Counter()
        while len(processes) < 4:
            # A worker that has had its requests closes the connections that are still being made.
            with contextlib.suppress(httpx.TransportError):
                processes[service.get(f"/items/{processes.total()}").json()] += 1
        service.stop()
        answered = processes.total()
        assert sum(span.kind == "SERVER" for span in service.recording.spans) == answered
        assert sum(point.count for point in service.recording.latest("http.server.request.duration")) == answered


def test_workers_that_uvicorn_replaces_send_what_they_have() -> None:
    with served(*WORKERS) as service:
        eventually(lambda: started(service) == 2)
        items(service)
        service.process.send_signal(signal.SIGHUP)
        service.recording.wait_for(lambda seen: sum(span.kind == "SERVER" for span in seen.spans) == REQUESTS)
        eventually(lambda: started(service) == 4)
        items(service)
        service.stop()
        assert sum(span.kind == "SERVER" for span in service.recording.spans) == 2 * REQUESTS
        assert sum(point.count for point in service.recording.latest("http.server.request.duration")) == 2 * REQUESTS


@pytest.mark.parametrize("number", [TERM, signal.SIGKILL])
def test_a_worker_that_dies_is_replaced_and_nothing_of_the_others_is_lost(number: int) -> None:
    with served(*WORKERS) as service:
        eventually(lambda: started(service) == 2)
        before = items(service)
        victim = next(iter(before))
        os.kill(victim, number)
        eventually(lambda: started(service) == 3)
        after = items(service, 3)
        assert victim not in after
        service.stop()
        lost = before[victim] if number == signal.SIGKILL else 0  # nobody can help that
        assert sum(span.kind == "SERVER" for span in service.recording.spans) == REQUESTS + 3 - lost


def test_a_worker_that_is_reloaded_sends_what_it_has(tmp_path: Path) -> None:
    watched = tmp_path / "watched.py"
    watched.write_text("")
    with served("--reload", "--reload-dir", str(tmp_path)) as service:
        items(service)
        watched.write_text("# changed")
        eventually(lambda: started(service) == 2)
        assert sum(span.kind == "SERVER" for span in service.recording.spans) == REQUESTS
        service.stop()
        assert Counter(record.body for record in service.recording.logs)["closing"] == 2


# -- without a server -------------------------------------------------------------------------

PROGRAM = """
import logging, os, signal, sys, time
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("work"):
    logging.getLogger("app").warning("work")
{end}
"""


def run(end: str, endpoint: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))}
    addressed = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_PYTHON_DISTRO": "otel_search"}
    return subprocess.run(
        [BIN / "opentelemetry-instrument", sys.executable, "-c", PROGRAM.format(end=end)],
        env={**environment, **AT_THE_END, **addressed, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('the end')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", -signal.SIGTERM),
    ],
)
def test_a_program_without_a_server_sends_what_it_has(end: str, status: int) -> None:
    recording = Recording()
    with Receiver(recording.add) as receiver:
        done = run(end, receiver.endpoint)
    assert done.returncode == status
    assert done.stderr == b""
    assert [span.name for span in recording.spans] == ["work"]
    assert [record.body for record in recording.logs if record.scope == "app"] == ["work"]
    uncaught = [record.attributes["exception.message"] for record in recording.logs if record.scope == "uncaught"]
    assert uncaught == (["the end"] if "the end" in end else [])


def test_a_program_that_cannot_send_says_so_and_nothing_else() -> None:
    done = run("", f"http://127.0.0.1:{free_port()}", OTEL_SEARCH_SHUTDOWN_TIMEOUT="2")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines if line["level"] != "info"][:1] == ["work"]
    said = [line for line in lines if line["level"] != "info"][1:]
    assert {line["event"] for line in said} <= {"telemetry is being lost", "telemetry was lost"}
    assert "telemetry was lost" in {line["event"] for line in said}
    assert done.stderr == b""
