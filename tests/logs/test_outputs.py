"""Lines and their reader: a log call never waits for it, and what it does not take is counted."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_search import logs
from otel_search.logs.backlog import Backlog
from otel_search.settings import Settings
from tests.service import APPS, BIN, eventually, free_port, serve

LEVELS = (10, 20, 30, 40, 50)


@given(st.lists(st.tuples(st.sampled_from(LEVELS), st.integers(1, 30))), st.integers(1, 8), st.integers(1, 90))
def test_a_backlog_is_bounded_ordered_and_lets_the_least_severe_go_first(
    lines: list[tuple[int, int]], max_lines: int, max_bytes: int
) -> None:
    backlog = Backlog(max_lines, max_bytes)
    expected: list[tuple[int, int, int]] = []  # number, level, size
    gone: Counter[int] = Counter()
    for number, (level, size) in enumerate(lines):
        backlog.put(level, b"%03d" % number + b"x" * size)
        while len(expected) >= max_lines or (expected and sum(e[2] for e in expected) + size + 3 > max_bytes):
            lowest = min(expected, key=lambda e: (e[1], e[0]))
            if lowest[1] >= level:
                gone[level] += 1
                break
            expected.remove(lowest)
            gone[lowest[1]] += 1
        else:
            expected.append((number, level, size + 3))
        assert len(backlog) == len(expected)
    assert backlog.dropped == gone
    taken = [line for chunk in iter(lambda: backlog.take(40), []) for line in chunk]
    assert [int(line[:3]) for line in taken] == [number for number, _, _ in expected]


class Pipe:
    """A stdout whose reader is the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reading, writing = os.pipe()
        self.stdout = io.TextIOWrapper(io.FileIO(writing, "w"), encoding="utf-8", write_through=True)  # type: ignore[type-var]
        monkeypatch.setattr(sys, "stdout", self.stdout)

    def read(self, until: str) -> list[dict[str, Any]]:
        """All lines up to one that holds `until`."""
        text = b""
        while until.encode() not in text or not text.endswith(b"\n"):
            text += os.read(self.reading, 1 << 16)
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        os.close(self.reading)
        with contextlib.suppress(BrokenPipeError):
            self.stdout.close()


@contextlib.contextmanager
def piped() -> Iterator[Pipe]:
    # Not a fixture: pytest puts its own stdout back between a fixture and its test.
    with pytest.MonkeyPatch.context() as patch:
        pipe = Pipe(patch)
        logs.install(Settings(log_format="json"), "catalogue")
        try:
            yield pipe
        finally:
            logs.uninstall()
            pipe.close()


def test_lines_are_written_at_once_while_there_is_a_reader() -> None:
    with piped() as pipe:
        threads = threading.active_count()
        for number in range(20):
            logging.getLogger("std").info("line %d", number)
            (line,) = pipe.read("\n")
            assert line["event"] == f"line {number}"
        assert threading.active_count() == threads


def test_what_the_application_has_printed_before_comes_before() -> None:
    with piped() as pipe:
        print("printed", end=" ", flush=False)
        logging.getLogger("std").info("logged")
        assert os.read(pipe.reading, 100).startswith(b'printed {"timestamp"')


def test_a_stopped_reader_stops_no_one_and_what_it_missed_is_said() -> None:
    with piped() as pipe:
        text = "x" * 1000
        for number in range(40_000):
            logging.getLogger("std").log(
                logging.ERROR if number % 100 == 0 else logging.INFO, text, extra={"n": number}
            )
        # All of it is more than what may wait, yet each call has returned. Now the reader goes on.
        lines = pipe.read("log lines were lost")
        *kept, notice = lines
        numbers = [line["n"] for line in kept]
        assert numbers == sorted(numbers)
        assert [line["n"] for line in kept if line["level"] == "error"] == list(range(0, 40_000, 100))
        assert notice["dropped"] == 40_000 - len(kept) > 0
        assert notice["by_level"] == {"info": notice["dropped"]}
        logging.getLogger("std").info("and on it goes")
        assert pipe.read("and on it goes")[-1]["event"] == "and on it goes"


def test_a_line_longer_than_the_pipe_is_written_whole_and_in_its_place() -> None:
    with piped() as pipe:
        long = {f"part{number}": "y" * 15_000 for number in range(20)}
        logging.getLogger("std").info("before")
        logging.getLogger("std").info("long", extra=long)
        logging.getLogger("std").info("after")
        lines = pipe.read('"after"')
        assert [line["event"] for line in lines] == ["before", "long", "after"]
        assert lines[1]["part19"] == "y" * 15_000


def test_a_reader_that_has_gone_costs_nothing_but_its_lines() -> None:
    with piped() as pipe:
        os.close(pipe.reading)
        logging.getLogger("std").info("nobody listens")
        pipe.reading = os.open(os.devnull, os.O_RDONLY)
        assert logs.outputs()._lost == {"stdout": 1}  # type: ignore[union-attr]


def test_a_forked_child_writes_its_own_lines_and_not_its_parents() -> None:
    with piped() as pipe:
        for number in range(2_000):  # more than the pipe holds: some wait, and the thread is at work
            logging.getLogger("std").info("parent %d", number)
        child = os.fork()
        if child == 0:
            logging.getLogger("std").info("child")
            for _ in range(20):  # each waits until nothing moves
                logs.outputs().force_flush()  # type: ignore[union-attr]
            os._exit(0)
        reading = threading.Thread(target=lambda: lines.extend(pipe.read('"end"')))
        lines: list[dict[str, Any]] = []
        reading.start()
        os.waitpid(child, 0)
        logging.getLogger("std").info("end")
        reading.join()
        events = [line["event"] for line in lines]
        assert sorted(events) == sorted([*(f"parent {number}" for number in range(2_000)), "child", "end"])


def start(tmp_env: dict[str, str] | None = None) -> tuple[subprocess.Popen[bytes], int]:
    """A service whose stdout nobody reads yet."""
    port = free_port()
    command = [str(BIN / "opentelemetry-instrument"), str(BIN / "uvicorn"), "chatty:app", "--port", str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    env |= {
        "OTEL_PYTHON_DISTRO": "otel_search",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        **(tmp_env or {}),
    }
    process = subprocess.Popen(command, cwd=APPS, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ready() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        except httpx.TransportError:
            return False

    eventually(ready)
    return process, port


def get(port: int, path: str) -> Any:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60).json()


def test_200_000_lines_without_a_reader_cost_bounded_memory_and_the_service_answers() -> None:
    process, port = start()
    try:
        before = get(port, "/memory")
        for _ in range(10):
            get(port, "/log/20000")
        assert get(port, "/memory") - before < 150 * 1024 * 1024
        get(port, "/log/1?level=error")
        lines: list[bytes] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if b"log lines were lost" in line:
                break
        events = [json.loads(line) for line in lines]
        chat = [event for event in events if event["event"] == "chat"]
        notice = events[-1]
        requests = [event for event in events if event["event"] == "request completed"]
        # 200,001 lines of the load, and 13 access lines, whose level is the same.
        assert len(chat) + len(requests) + notice["dropped"] == 200_001 + 13
        assert [event["level"] for event in chat if event["level"] == "error"] == ["error"]
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert b"Finished server process" in rest


def test_an_end_without_a_reader_keeps_its_bound_and_says_what_is_lost() -> None:
    process, port = start()
    get(port, "/log/5000")
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    _, errors = process.communicate()
    (line,) = errors.splitlines()
    said = json.loads(line)
    assert said["event"] == "log lines were lost"
    assert said["stdout"] > 1000


def test_a_slow_reader_gets_everything_at_the_end() -> None:
    process, port = start()
    get(port, "/log/5000")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    events = [json.loads(line) for line in output.splitlines()]
    assert [event["number"] for event in events if event["event"] == "chat"] == list(range(5000))
    assert events[-1]["event"].startswith("Finished server process")


def test_an_error_and_all_before_it_is_there_after_a_kill() -> None:
    with serve("chatty:app") as service:
        service.get("/log/500")
        service.get("/log/1?level=error")
        service.process.send_signal(signal.SIGKILL)
        service.stop()
        assert [event["number"] for event in service.events(event="chat")] == [*range(500), 0]


def test_a_servers_lines_are_made_beside_its_event_loop_in_their_order_and_with_their_ids() -> None:
    with serve("chatty:app") as service:
        trace_ids = [service.get("/log/300").headers["x-trace-id"] for _ in range(5)]
        eventually(lambda: len(service.events(event="request completed")) == 5)
        chat = service.events(event="chat")
        assert [event["number"] for event in chat] == [*range(300)] * 5
        assert [event["trace_id"] for event in chat[::300]] == trace_ids
        service.stop()
        records = [record for record in service.recording.logs if record.body == "chat"]
        assert [record.attributes["number"] for record in records] == [*range(300)] * 5
        assert {record.trace_id for record in records} == set(trace_ids)
        # The server's own last words are written after it has served.
        assert service.events()[-1]["event"].startswith("Finished server process")
