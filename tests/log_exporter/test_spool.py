"""What waits on disk while Elasticsearch is down: all of it, in its order, once, and within its bound."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import LogRecordExportResult

from otel_search.delivery import losses
from otel_search.log_exporter import bulk
from tests.service import eventually, free_port, serve

from .conftest import BulkServer, bulk_server, exporter, record

SUCCESS, FAILURE = LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_FIRST_DELAY", 0.01)
    monkeypatch.setattr(bulk, "_LONGEST_DELAY", 0.1)


@pytest.fixture
def spooling(tmp_path: Path) -> Iterator[Any]:
    """Makes exporters with a spool, and ends them."""
    made: list[Any] = []

    def make(url: str, **settings: Any) -> Any:
        made.append(exporter(url, logs_spool=str(tmp_path / "spool"), **settings))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


def waiting(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "spool").glob("*.ndjson"))


def test_the_spool_survives_restarts_and_is_replayed_in_order(tmp_path: Path, spooling: Any) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for first in (0, 10, 20):  # three lives of the process, the server is down in all of them
        found = spooling(url)
        for number in range(first, first + 10):
            assert found.export([record(number)]) is SUCCESS
        found.shutdown()
    assert len(waiting(tmp_path)) == 30
    with bulk_server(port) as server:
        assert spooling(url).export([record(30)]) is SUCCESS
        eventually(lambda: len(server.written) == 31 and not waiting(tmp_path))
        assert server.order == list(range(31))


def test_the_spool_is_replayed_without_any_new_record(
    tmp_path: Path, spooling: Any, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    found = spooling(f"http://127.0.0.1:{port}")
    for number in range(5):
        assert found.export([record(2 * number), record(2 * number + 1)]) is SUCCESS
    with caplog.at_level(logging.INFO), bulk_server(port) as server:
        eventually(lambda: not waiting(tmp_path))
        assert server.order == list(range(10))
        eventually(lambda: "the spool is empty again, 10 log records have been sent from it" in caplog.text)
    assert caplog.text.count("they wait in the spool") == 1


def test_what_an_earlier_life_has_left_is_sent_by_a_service_that_logs_nothing(tmp_path: Path, spooling: Any) -> None:
    port = free_port()
    found = spooling(f"http://127.0.0.1:{port}")
    found.export([record(1)])
    found.shutdown()
    with bulk_server(port) as server:
        spooling(f"http://127.0.0.1:{port}")
        eventually(lambda: server.order == [1] and not waiting(tmp_path))


def test_records_of_a_replay_wait_behind_it_and_do_not_block(tmp_path: Path, spooling: Any) -> None:
    port = free_port()
    found = spooling(f"http://127.0.0.1:{port}")
    for number in range(20):
        found.export([record(number)])
    with bulk_server(port) as server:
        for number in range(20, 60):
            found.export([record(number)])
        eventually(lambda: not waiting(tmp_path))
        assert server.order == list(range(60))


def test_a_server_that_goes_again_in_the_midst_of_a_replay_costs_nothing(
    tmp_path: Path, spooling: Any, server: BulkServer
) -> None:
    server.status = 503
    found = spooling(server.url)
    for number in range(30):
        found.export([record(number)])
    tried = [0]

    def rule(_head: Any, _document: Any) -> Any:
        tried[0] += 1
        return (429, {"type": "rejected", "reason": "busy"}) if tried[0] % 3 == 0 else (201, None)

    server.rule = rule
    server.status = 200
    eventually(lambda: not waiting(tmp_path))
    assert server.order == list(range(30))


def test_a_full_spool_keeps_what_it_has_and_says_what_it_cannot_take(spooling: Any) -> None:
    found = spooling(f"http://127.0.0.1:{free_port()}", logs_spool_megabytes=1)
    results = [found.export([record(number, text="x" * 100_000)]) for number in range(12)]
    assert results == [SUCCESS] * 9 + [FAILURE] * 3
    assert "is full" in found.cause


def test_a_full_disk_is_not_filled_with_parts_of_files(
    tmp_path: Path, spooling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    found = spooling(f"http://127.0.0.1:{free_port()}")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert [found.export([record(number)]) for number in range(3)] == [FAILURE] * 3
    assert os.strerror(errno.ENOSPC) in found.cause
    assert list((tmp_path / "spool").iterdir()) == []
    assert found.export([record(3)]) is SUCCESS
    assert len(waiting(tmp_path)) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_the_spool_waits_for_a_key_that_is_accepted(
    tmp_path: Path, spooling: Any, server: BulkServer, status: int
) -> None:
    server.status = status
    found = spooling(server.url)
    assert [found.export([record(number)]) for number in range(3)] == [SUCCESS] * 3
    eventually(lambda: len(server.bulks()) > 2)
    assert len(waiting(tmp_path)) == 3
    server.status = 200
    eventually(lambda: server.order == [0, 1, 2] and not waiting(tmp_path))


def test_of_a_batch_that_was_taken_in_part_only_the_rest_is_lost(spooling: Any, server: BulkServer) -> None:
    busy = {"type": "rejected", "reason": "busy"}
    server.rule = lambda _head, document: (429, busy) if document["attributes"]["number"] >= 8 else (201, None)
    found = spooling(server.url, logs_spool_megabytes=1)
    before = losses.totals().get("logs export_failed", 0)
    # The rest is larger than the spool.
    assert found.export([record(number, text="x" * 600_000 * (number >= 8)) for number in range(10)]) is SUCCESS
    assert len(server.written) == 8
    assert losses.totals()["logs export_failed"] == before + 2


def test_a_file_in_the_spool_that_cannot_be_read_is_set_aside(
    tmp_path: Path, spooling: Any, server: BulkServer, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "00000000000000000000-1-000000.ndjson").write_bytes(b'{"create":\n')
    with caplog.at_level(logging.ERROR):
        spooling(server.url).export([record(1)])
        eventually(lambda: server.order == [1])
    name, spool = "00000000000000000000-1-000000.ndjson", tmp_path / "spool"
    assert caplog.text.count(f"{name} in the spool {spool} cannot be read and was set aside") == 1
    assert len(list(spool.glob("*.unreadable"))) == 1


def test_what_is_no_file_and_what_was_written_in_part_is_set_aside_too(
    tmp_path: Path, spooling: Any, server: BulkServer, caplog: pytest.LogCaptureFixture
) -> None:
    spool = tmp_path / "spool"
    (spool / "00000000000000000000-1-000000.ndjson").mkdir(parents=True)
    killed = spool / "00000000000000000000-1-000001.ndjson.unfinished"
    being_written = spool / "00000000000000000000-2-000000.ndjson.unfinished"
    for path in (killed, being_written):
        path.write_bytes(b'{"create":')
    os.utime(killed, (0, 0))
    with caplog.at_level(logging.ERROR):
        spooling(server.url).export([record(1)])
        eventually(lambda: server.order == [1] and not waiting(tmp_path))
        eventually(lambda: not killed.exists())
    said = [line.getMessage().partition(" in the spool ")[0] for line in caplog.records]
    assert sorted(said) == ["00000000000000000000-1-000000.ndjson", killed.name]
    assert being_written.exists()
    assert len(list(spool.glob("*.unreadable"))) == 2


def test_a_service_finds_again_what_waited_when_it_was_stopped(tmp_path: Path) -> None:
    port = free_port()
    env = {
        "OTEL_LOGS_EXPORTER": "elasticsearch",
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": f"http://127.0.0.1:{port}",
        "OTEL_SEARCH_LOGS_SPOOL": str(tmp_path / "spool"),
    }
    with serve("chatty:app", env=env) as service:
        service.get("/log/50")
        service.stop()
    assert waiting(tmp_path)
    with bulk_server(port) as server, serve("chatty:app", env=env) as service:
        service.stop()
        chat = [document for document in server.written.values() if document["body"]["text"] == "chat"]
        assert [document["attributes"]["number"] for document in chat] == list(range(50))
        assert waiting(tmp_path) == []


def _export_in_child(url: str, spool: str, first: int) -> None:
    found = exporter(url, logs_spool=spool)
    for number in range(first, first + 50):
        found.export([record(number)])


def test_several_workers_share_one_spool(tmp_path: Path, spooling: Any) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    spool = str(tmp_path / "spool")
    context = multiprocessing.get_context("spawn")

    def run(first: int) -> None:
        children = [
            context.Process(target=_export_in_child, args=(url, spool, 1000 * child + first)) for child in range(2)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
            assert child.exitcode == 0

    run(0)
    assert len(waiting(tmp_path)) == 100
    with bulk_server(port) as server:
        run(100)
        spooling(url).export([record(9999)])
        eventually(lambda: not waiting(tmp_path))
        assert len(server.written) == 201
        for child in range(2):
            of_child = [number for number in server.order if number // 1000 == child]
            assert sorted(of_child) == [
                *range(1000 * child, 1000 * child + 50),
                *range(1000 * child + 100, 1000 * child + 150),
            ]
