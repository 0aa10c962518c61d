"""`otel-search doctor -- COMMAND`: an application that is well, and each way in which one is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.distributions import install
from tests.doctor.servers import answering
from tests.service import APPS, BIN, free_port

NOTES = {"several-processes", "answered-with-error", "service-unnamed"}


class Examined:
    """What the doctor has found with a command."""

    def __init__(self, command: list[str], endpoint: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))},
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_PYTHON_DISTRO": "otel_search",
            "OTEL_SERVICE_NAME": "examined",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **(env or {}),
        }
        done = subprocess.run(
            [BIN / "otel-search", "doctor", "--json", *options, "--", *command],
            cwd=APPS,
            env={name: value for name, value in variables.items() if value},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.stdout, done.stderr
        self.status = done.returncode
        self.text = done.stdout
        self.facts: dict[str, Any] = json.loads(done.stdout)
        self.findings: dict[str, list[str]] = {}
        for finding in self.facts["findings"]:
            self.findings.setdefault(finding["check"], []).append(finding["what"])

    def finds(self, name: str) -> str:
        """What is so, if it was found."""
        assert name in self.findings, self.text
        return "\n".join(self.findings[name])


def uvicorn(app: str, *options: str) -> list[str]:
    return ["uvicorn", app, "--port", str(free_port()), *options]


def test_an_application_that_is_well_is_followed_to_its_receiver() -> None:
    recording = Recording()
    with Receiver(recording.add) as receiver:
        examined = Examined(uvicorn("basic:app", "--workers", "2"), receiver.endpoint, "--path", "/v1/503")
    assert examined.status == 0, examined.text
    assert set(examined.findings) <= NOTES
    assert "2 of them with an application" in examined.finds("several-processes")
    assert "was answered with 503" in examined.finds("answered-with-error")
    application = examined.facts["application"]
    assert application["spans"] == ["GET /v1/503"]
    assert "http.server.request.duration" in application["metrics"]
    (span,) = recording.spans
    assert span.trace_id == application["trace_id"]
    assert recording.logs
    assert recording.metrics


def test_workers_that_start_later_are_waited_for(tmp_path: Path) -> None:
    with Receiver(lambda _: None) as receiver:
        command = uvicorn("late_worker:app", "--workers", "2")
        examined = Examined(command, receiver.endpoint, env={"FIRST": str(tmp_path / "first")})
    assert "2 of them with an application" in examined.finds("several-processes")


def test_an_exporter_by_grpc_is_followed_too() -> None:
    pytest.importorskip("otel_search.viewer.grpc_receiver")
    from otel_search.viewer.grpc_receiver import GrpcReceiver

    recording = Recording()
    receiver = GrpcReceiver(recording.add, port=0)
    receiver.start()
    try:
        examined = Examined(
            uvicorn("basic:app"), receiver.endpoint, "--path", "/health/", env={"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        )
    finally:
        receiver.stop()
    # The health route of the application's own has no spans; its logs and metrics arrive all the same.
    assert "/health/ is a probe, which has no spans" in examined.finds("server-span-missing")
    assert set(examined.findings) == {"server-span-missing"}
    assert recording.logs
    assert recording.metrics


def test_nothing_sampled_lines_lost_and_batches_refused() -> None:
    env = {"OTEL_TRACES_SAMPLER": "always_off", "OTEL_BLRP_MAX_QUEUE_SIZE": "1", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "1"}
    with answering(refuses_contents=True) as port:
        examined = Examined(uvicorn("basic:app"), f"http://127.0.0.1:{port}", env=env)
    assert examined.status == 1
    assert "the sampler is " in examined.finds("server-span-missing")
    assert "status 400" in examined.finds("delivery-refused")
    assert "logs queue_full" in examined.finds("telemetry-lost")
    assert "endpoint-refuses" not in examined.findings, "an empty batch is accepted"


def test_an_application_with_providers_of_its_own() -> None:
    with Receiver(lambda _: None) as receiver:
        examined = Examined(uvicorn("own_telemetry:app"), receiver.endpoint, env={"OWN": "providers,contrib"})
    assert "the application sets providers itself, too late" in examined.finds("own-providers")
    assert "FastAPI's own telemetry is silent" in examined.finds("native-and-contrib")


def test_another_distribution_in_charge_and_spans_doubled() -> None:
    env = {"OTEL_PYTHON_DISTRO": "distro", "OTEL_PYTHON_CONFIGURATOR": "configurator", "DOUBLED": "around,elsewhere"}
    env |= {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi"}
    env |= {f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")}
    with Receiver(lambda _: None) as receiver:
        examined = Examined(uvicorn("doubled:app"), receiver.endpoint, "--path", "/items/1", env=env)
    assert "OpenTelemetryDistro is in charge" in examined.finds("not-set-up")
    assert "has 2 server spans" in examined.finds("server-span-doubled")
    assert "traces go to http://" in examined.finds("exported-elsewhere")
    assert "127.0.0.1:9/v1/traces, which is set in the application" in examined.finds("exported-elsewhere")
    assert "hunter2" not in examined.text
    assert "no logs arrived" in examined.finds("signal-missing")


def test_a_launcher_that_fails(tmp_path: Path) -> None:
    source = "class Broken:\n    def configure(self, **_):\n        raise ValueError('no password=hunter2')\n"
    entries = {"opentelemetry_configurator": {"broken": "broken_configurator:Broken"}}
    install(tmp_path, "broken-configurator", entries, {"broken_configurator": source})
    env = {"PYTHONPATH": str(tmp_path), "OTEL_PYTHON_CONFIGURATOR": "broken"}
    with Receiver(lambda _: None) as receiver:
        examined = Examined(uvicorn("basic:app"), receiver.endpoint, env=env)
    assert "Failed to auto initialize OpenTelemetry: ValueError: no password=" in examined.finds("launcher-failed")
    assert "hunter2" not in examined.text


SERVES = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"


def test_a_program_that_the_launcher_cannot_reach() -> None:
    command = [sys.executable, "-I", "-c", SERVES, str(free_port())]
    with Receiver(lambda _: None) as receiver:
        examined = Examined(command, receiver.endpoint)
    assert "no process of it was reached" in examined.finds("not-launched")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["no-such-program"], "there is no program 'no-such-program' on PATH"),
        ([sys.executable, "-c", "raise SystemExit('no token=hunter2')"], "it ended with status 1 before it served"),
        ([sys.executable, "-c", "import time; time.sleep(600)"], "it listens on no port after 3 s"),
        (
            ["uvicorn", "basic:no_such_app", "--port", "0"],
            'it said: Error loading ASGI app. Attribute "no_such_app" not',
        ),
        (["uvicorn", "basic:app", "--uds", "app.sock"], "it is to listen on a Unix socket"),
        (["gunicorn", "basic:app", "-b", "unix:app.sock"], "it is to listen on a Unix socket"),
        (
            ["uvicorn", "broken:app"],
            "it said: uncaught exception: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            ["gunicorn", "broken:app", "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:0"],
            "it said: Exception in worker process: ModuleNotFoundError: No module named 'no_such_module'",
        ),
    ],
    ids=[
        "not there",
        "ends",
        "silent",
        "no application",
        "a Unix socket",
        "a Unix socket of gunicorn",
        "import fails",
        "import fails in a worker",
    ],
)
def test_an_application_that_does_not_start(command: list[str], text: str) -> None:
    with Receiver(lambda _: None) as receiver:
        examined = Examined(command, receiver.endpoint, "--timeout", "3")
    assert text in examined.finds("application-not-started")
    assert "hunter2" not in examined.text


def test_any_free_port_is_found() -> None:
    with Receiver(lambda _: None) as receiver:
        examined = Examined(["uvicorn", "basic:app", "--port", "0"], receiver.endpoint, "--path", "/v1/items/1")
    assert examined.facts["application"]["spans"] == ["GET /v1/items/{item_id}"], examined.text


def test_a_launcher_that_ends_at_a_propagator() -> None:
    with Receiver(lambda _: None) as receiver:
        examined = Examined(uvicorn("basic:app"), receiver.endpoint, env={"OTEL_PROPAGATORS": "jaegr"})
    assert "'jaegr'" in examined.finds("propagator-unknown")
    assert "ValueError: Propagator jaegr not found" in examined.finds("application-not-started")


def test_a_port_that_is_taken() -> None:
    with Receiver(lambda _: None) as receiver, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        examined = Examined(["uvicorn", "basic:app", "--port", str(port)], receiver.endpoint)
    assert f"port {port} is in use already" in examined.finds("application-not-started")


SILENT = {"sdk-disabled": {"OTEL_SDK_DISABLED": "true"}, "config-file": {"OTEL_CONFIG_FILE": "telemetry.yaml"}}


@pytest.mark.parametrize("name", SILENT)
def test_where_the_variables_do_not_decide_nothing_is_missed(name: str, tmp_path: Path) -> None:
    (tmp_path / "telemetry.yaml").write_text('file_format: "1.0"\n')
    env = {variable: text.replace("telemetry", f"{tmp_path}/telemetry") for variable, text in SILENT[name].items()}
    with Receiver(lambda _: None) as receiver:
        examined = Examined(uvicorn("basic:app"), receiver.endpoint, "--path", "/v1/items/1", env=env)
    assert set(examined.findings) == {name}
    assert examined.facts["application"]["status"] == 200
