"""A log file that several processes share, that is rotated by them or by others, and that may not be writable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from otel_search.logs.file import LogFile
from otel_search.settings import Settings
from otel_search.settings.values import Rotation
from tests.service import eventually, serve

WRITER = """
import sys
from pathlib import Path
from otel_search.logs.file import LogFile
from otel_search.settings.values import Rotation
path, name, lines = sys.argv[1:]
file = LogFile(Path(path), Rotation(20_000), 500)
for number in range(int(lines)):
    file.write(f"{name} {number}\\n".encode() * 3)
"""


def lines_of(path: Path) -> list[str]:
    """All lines, from the oldest file to the newest."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"), key=lambda found: -int(found.suffix[1:]))
    return [line for found in [*rotated, path] for line in found.read_text().splitlines()]


def test_processes_that_share_a_rotated_file_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    command = [sys.executable, "-c", WRITER, str(path)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: subprocess.run([*command, name, "3000"], check=True), "abcd"))
    assert len(done) == 4
    lines = lines_of(path)
    assert len(lines) == 4 * 3000 * 3
    for name in "abcd":
        numbers = [int(line.split()[1]) for line in lines if line.startswith(name)]
        assert numbers == sorted(numbers)
    files = list(tmp_path.glob("logs/*"))
    assert len(files) > 10
    assert all(found.stat().st_size <= 20_000 for found in files)


def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "app.log", Rotation(100), 2)
    for number in range(50):
        file.write(b"%d" % number + b"x" * 60 + b"\n")
    file.close()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["app.log", "app.log.1", "app.log.2"]
    assert [line.rstrip("x") for line in lines_of(tmp_path / "app.log")] == ["47", "48", "49"]


def test_rotation_by_time_looks_at_when_the_file_was_last_written(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    file = LogFile(path, Rotation.parse("daily"), 5)
    file.write(b"today\n")
    file.write(b"today, too\n")
    assert lines_of(path) == ["today", "today, too"]
    yesterday = time.time() - 86_400
    os.utime(path, (yesterday, yesterday))
    file.write(b"tomorrow\n")
    file.close()
    assert (tmp_path / "app.log.1").read_text() == "today\ntoday, too\n"
    assert path.read_text() == "tomorrow\n"


def test_logrotate_may_rename_or_delete_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    file = LogFile(path, Rotation.parse("off"), 5)
    file.write(b"one\n")
    path.rename(tmp_path / "app.log-20261125")
    file.write(b"two\n")
    path.unlink()
    file.write(b"three\n")
    file.close()
    assert (tmp_path / "app.log-20261125").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_a_disk_without_room_keeps_no_part_of_a_line(tmp_path: Path) -> None:
    # A limit on the size of files is a disk that is full at that size.
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from otel_search.logs.file import LogFile\n"
        "from otel_search.settings.values import Rotation\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "file = LogFile(Path(sys.argv[1]), Rotation.parse('off'), 5)\n"
        "file.write(b'a' * 79 + b'\\n')\n"
        "try:\n"
        "    file.write(b'b' * 79 + b'\\n')\n"
        "except OSError:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    file.write(b'c' * 79 + b'\\n')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "app.log")], check=True)
    assert [line[0] for line in lines_of(tmp_path / "app.log")] == ["a", "c"]


def test_a_service_with_workers_writes_each_line_once_to_stdout_and_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    env = {
        "OTEL_SEARCH_LOG_FILE": str(path),
        "OTEL_SEARCH_LOG_FILE_ROTATION": "100KB",
        "OTEL_SEARCH_LOG_FILE_KEEP": "100",
    }
    with serve("chatty:app", "--workers", "2", env=env) as service:
        with ThreadPoolExecutor(8) as pool:
            pids = set(pool.map(lambda _: httpx.get(service.url + "/log/100", timeout=30).json(), range(60)))
        assert len(pids) == 2
        service.stop()
        on_stdout = sorted(service.lines)
    in_file = lines_of(path)
    assert sorted(in_file) == on_stdout
    assert len([line for line in in_file if '"chat"' in line]) == 6_000
    assert len(list(tmp_path.glob("app.log.*"))) > 5


def test_a_file_that_cannot_be_written_is_said_once_and_the_service_goes_on(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file, not a directory")
    path = tmp_path / "occupied" / "app.log"
    with serve("chatty:app", env={"OTEL_SEARCH_LOG_FILE": str(path)}) as service:
        for _ in range(3):
            assert service.get("/log/10").status_code == 200
        said = [json.loads(line) for line in eventually(lambda: service.error_lines)]
        assert said == [
            {
                "event": "the log file cannot be written",
                "file": str(path),
                "error": "FileExistsError: File exists",
            }
        ]
        points = service.recording.wait_for(
            lambda recording: [
                point
                for point in recording.latest("search.telemetry.dropped")
                if point.attributes["search.telemetry.signal"] == "file" and point.value >= 30
            ]
        )
        assert points[0].attributes["search.telemetry.reason"] == "write_failed"
        (tmp_path / "occupied").unlink()
        service.get("/log/1")
        again = service.event(event="the log file is written again")
        assert again["dropped"] >= 30
        assert len(service.error_lines) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10MB", Rotation(10_000_000)),
        ("5 kb", Rotation(5_000)),
        ("1gb", Rotation(1_000_000_000)),
        ("daily", Rotation(0, 86_400)),
        ("hourly", Rotation(0, 3_600)),
        ("off", Rotation(0, 0)),
    ],
)
def test_the_rotation_is_a_setting(text: str, expected: Rotation) -> None:
    assert Settings.read({"OTEL_SEARCH_LOG_FILE_ROTATION": text}).log_file_rotation == expected


@pytest.mark.parametrize("text", ["10", "0MB", "weekly", "-1MB", "MB"])
def test_a_rotation_that_there_is_not_is_said(text: str) -> None:
    settings = Settings.read({"OTEL_SEARCH_LOG_FILE_ROTATION": text})
    assert settings.log_file_rotation == Rotation()
    (fault,) = settings.faults
    assert f"OTEL_SEARCH_LOG_FILE_ROTATION={text!r} is not accepted, using 10MB" in fault
