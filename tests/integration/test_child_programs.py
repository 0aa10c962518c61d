"""A program that a service starts inherits the launcher, and writes what it wrote before: its parent may parse it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_search.telemetry.descendants import is_started_by_a_service
from tests.service import APPS, BIN, Service, eventually, serve


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # A relative file, and a child elsewhere: no second file appears there.
    folder = tmp_path_factory.mktemp("logs")
    with serve("child:app", env={"OTEL_SEARCH_LOG_FILE": str(folder / "app.log")}) as running:
        yield running


@pytest.mark.parametrize("how", ["file", "code", "shell", "failing", "structlog", "loguru", "operation"])
def test_its_streams_and_its_status_are_as_without_the_launcher(service: Service, how: str) -> None:
    expected = service.get(f"/run/{how}?launcher=false").json()
    found = service.get(f"/run/{how}").json()
    assert json.loads(expected["stdout"]) == {"result": 42}
    assert expected["stderr"]
    assert found == expected


@pytest.mark.parametrize(
    ("how", "events"),
    [("file", ["careful 7", "a library says"]), ("loguru", ["from loguru"])],
)
def test_what_it_logs_is_exported_all_the_same(service: Service, how: str, events: list[str]) -> None:
    before = len(service.recording.logs)
    service.get(f"/run/{how}")

    def found() -> list[str]:
        bodies = [record.body for record in service.recording.logs[before:]]
        return [body for body in bodies if body in events]

    eventually(lambda: len(found()) >= len(events))
    assert found() == events


def test_an_exception_that_ends_it_is_exported_and_still_on_its_stderr(service: Service) -> None:
    before = len(service.recording.logs)
    assert service.get("/run/failing").json()["stderr"].rstrip().endswith("ValueError: broken")
    eventually(lambda: [log for log in service.recording.logs[before:] if log.body == "uncaught exception"])


def test_a_server_that_a_supervisor_starts_is_a_server(tmp_path: Path) -> None:
    """Whoever starts it: its lines are ours from the first on."""
    supervisor = tmp_path / "supervisor.py"
    supervisor.write_text("import subprocess, sys\nsys.exit(subprocess.run(sys.argv[1:]).returncode)\n")
    command = [sys.executable, str(supervisor), str(BIN / "uvicorn"), "chatty:app", "--port", "{port}"]
    with serve("chatty:app", command=command) as service:
        service.get("/log/3")
        assert len(eventually(lambda: service.events(event="chat"))) == 3
        assert service.error_lines == []
        assert service.events(event="Application startup complete.")


def test_a_program_under_the_launcher_of_its_own_is_its_own_master() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))}
    env |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    env |= {"OTEL_PYTHON_DISTRO": "otel_search"}
    launched = [str(BIN / "opentelemetry-instrument"), sys.executable, "-c"]
    inner = "import logging; logging.warning('inner')"
    outer = f"import subprocess; subprocess.run({[*launched, inner]!r}, check=True)"
    done = subprocess.run([*launched, outer], env=env, cwd=APPS, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["event"] == "inner"
    assert done.stderr == ""


SPAWNED = "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)"


@pytest.mark.parametrize(
    ("arguments", "is_program"),
    [
        (["python", "job.py"], True),
        (["python", "-u", "-X", "dev", "-W", "error", "jobs/multiprocessing.py", "uvicorn"], True),
        (["python", "-c", "from multiprocessing import Pool; print(Pool)"], True),
        (["python", "-m", "celery", "worker"], True),
        (["python", "-m", "uvicorn", "app:app"], False),
        (["python", "/venv/bin/uvicorn", "app:app"], False),
        (["python", "-m", "gunicorn", "app:app"], False),
        (["python", "/venv/bin/opentelemetry-instrument", "python", "job.py"], False),
        (["python", "-c", SPAWNED, "--multiprocessing-fork"], False),
    ],
)
def test_who_counts_as_a_program_that_a_service_starts(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], is_program: bool
) -> None:
    monkeypatch.setattr(sys, "orig_argv", arguments)
    environment: dict[str, str] = {}
    assert not is_started_by_a_service(environment)  # nobody was before it
    of_another = dict.fromkeys(environment, "1")
    assert is_started_by_a_service(of_another) == is_program
