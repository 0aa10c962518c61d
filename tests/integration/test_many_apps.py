"""Many applications in one process: nothing is registered twice, counted twice, leaked or left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.service import APPS, BIN


@pytest.fixture(scope="module")
def outcome() -> Iterator[tuple[dict[str, Any], Recording, subprocess.CompletedProcess[str]]]:
    recording = Recording()
    with Receiver(recording.add) as receiver:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        done = subprocess.run(
            [BIN / "opentelemetry-instrument", sys.executable, "many_apps.py"],
            cwd=APPS,
            env={
                **variables,
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_PYTHON_DISTRO": "otel_search",
                "OTEL_SERVICE_NAME": "many",
                "PYTHONWARNINGS": "ignore",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (said,) = [line for line in done.stdout.splitlines() if '"requests"' in line]
        yield json.loads(said), recording, done


def test_every_request_is_one_span_one_count_and_one_line(outcome: Any) -> None:
    said, recording, done = outcome
    servers = [span for span in recording.spans if span.kind == "SERVER"]
    assert len([span for span in servers if "search.request.id" in span.attributes]) == said["requests"]
    # What is not instrumented by us has FastAPI's own telemetry, as without us.
    assert len(servers) == said["requests"] + said["on their own"]
    counted = sum(point.count for point in recording.latest("http.server.request.duration"))
    assert counted == len(servers)
    assert sum(point.value for point in recording.latest("http.server.active_requests")) == 0
    lines = [line for line in done.stdout.splitlines() if '"request completed"' in line]
    assert len(lines) == said["requests"]
    assert len([record for record in recording.logs if record.body == "request completed"]) == said["requests"]


def test_no_thread_is_left_by_an_application(outcome: Any) -> None:
    threads = outcome[0]["threads"]
    assert len(threads) == 20
    assert max(threads) - min(threads) < 5


def test_nothing_complains(outcome: Any) -> None:
    _, _, done = outcome
    assert done.stderr == ""
    assert [
        line for line in done.stdout.splitlines() if '"level":"info"' not in line and '"requests"' not in line
    ] == []
