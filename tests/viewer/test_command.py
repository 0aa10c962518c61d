"""`otel-search viewer` as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

COMMAND = Path(sys.executable).with_name("otel-search")
FREE = ("--port", "0", "--otlp-port", "0", "--grpc-port", "0")


def start(*arguments, **variables):
    return subprocess.Popen(
        [COMMAND, "viewer", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_nothing_but_the_file_it_was_told(tmp_path, number):
    database = tmp_path / "telemetry.db"
    with start(*FREE, "--db", str(database)) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        url = re.match(r"Viewer +(\S+)", lines[0])[1]
        endpoint = re.match(r"Receiver +(\S+) +OTLP over HTTP", lines[1])[1]
        assert "OTLP over gRPC" in lines[2]
        body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"kept"}}]}]}]}'
        headers = {"content-type": "application/json"}
        assert httpx.post(f"{endpoint}/v1/logs", content=body, headers=headers, trust_env=False).status_code == 200
        assert httpx.get(url, trust_env=False).status_code == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["telemetry.db"]
    assert b"kept" in database.read_bytes()


def serving(process):
    return any("Ctrl-C" in line for line in process.stdout)


def test_what_killed_viewers_have_left_is_deleted_and_nothing_else(tmp_path):
    variables = {"TMPDIR": str(tmp_path)}
    own = tmp_path / "otel-search-viewer-own"
    own.mkdir()
    (own / "notes").write_text("mine")
    with start(*FREE, **variables) as killed:
        assert serving(killed)
        killed.kill()
        killed.communicate()
    (left,) = tmp_path.glob("*/telemetry.db")
    with start(*FREE, **variables) as other:
        assert serving(other), other.stderr.read()
        assert left.exists(), "it could be another's that is just starting"
        for file in tmp_path.glob("*/telemetry.db"):
            os.utime(file, (0, 0))
        with start(*FREE, **variables) as process:
            assert serving(process)
            assert not left.parent.exists()
            assert len(list(tmp_path.glob("*/telemetry.db"))) == 2
            process.terminate()
            process.communicate(timeout=60)
        other.terminate()
        other.communicate(timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert (own / "notes").exists()


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("--port", "--port PORT\n"),
        (
            "--otlp-port",
            "--otlp-port PORT, and tell the application OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:PORT\n",
        ),
        (
            "--grpc-port",
            "--grpc-port PORT, and tell the application OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:PORT\n",
        ),
    ],
)
def test_a_taken_port_is_one_line_that_says_what_to_do(option, advice):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start(*FREE, option, str(port)) as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == (
        f"otel-search viewer: port {port} of 127.0.0.1 is taken: "
        f"end what listens there, or take another one with {advice}"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--max-size", "many"), "'many' is not a size; accepted: at least 1MB, as in 512MB or 2GB"),
        (("--max-age", "0h"), "'0h' is not a time; accepted: as in 30m, 24h or 7d"),
        (("--port", "70000"), "'70000' is not a port; accepted: 0 to 65535"),
        (("--db", "/nowhere/telemetry.db"), "/nowhere/telemetry.db cannot be opened: No such file or directory"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_accepted(arguments, reason):
    with start(*FREE, *arguments) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, 2)
    assert reason in errors
    assert "Traceback" not in errors
