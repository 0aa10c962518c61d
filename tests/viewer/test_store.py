"""What the store keeps, what it counts, and what it lets go."""

from __future__ import annotations

import sqlite3
import time

import pytest

from otel_search.viewer.store import Store, StoreError
from otel_search.viewer.store.buckets import bucket_of, quantile, quantile_of_histogram
from tests.service import eventually
from tests.viewer.telemetry import SECOND, gauge, histogram, lines, search


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "telemetry.db")
    yield store
    store.close()


def add(store, *requests):
    for request in requests:
        assert store.add(request)
    assert store.flush()


def rows(store, query):
    return [tuple(row) for row in store.read().execute(query)]


# -- what is kept -----------------------------------------------------------------------------


def test_a_trace_is_known_by_its_root_span_and_by_what_came_of_its_searches(store):
    identifier, request = search(duration=30, more={"search.outcome": "partial", "search.shards.failed": 1})
    add(store, request)
    assert rows(
        store, "SELECT trace_id, name, service, method, route, status, duration, spans, calls, finding FROM traces"
    ) == [(identifier, "GET /products/search", "shop", "GET", "/products/search", 200, 30_000_000, 2, 1, "partial")]
    assert rows(store, "SELECT took, hits, outcome FROM calls") == [(0.004, 50, "partial")]


def test_spans_of_one_trace_may_come_in_any_order_and_in_pieces(store):
    identifier, request = search(duration=30)
    spans = request.resource_spans[0].scope_spans[0].spans
    server, call = (type(spans[0])() for _ in range(2))
    server.CopyFrom(spans[0])
    call.CopyFrom(spans[1])
    for span in (call, server):
        del spans[:]
        spans.add().CopyFrom(span)
        add(store, request)
    assert rows(store, "SELECT trace_id, name, root, duration, spans FROM traces") == [
        (identifier, "GET /products/search", 2, 30_000_000, 2)
    ]


def test_what_an_exporter_sends_twice_is_kept_and_counted_once(store):
    _, request = search()
    add(store, request, request)
    assert rows(store, "SELECT count(*), (SELECT spans FROM traces) FROM spans") == [(2, 2)]
    assert rows(store, "SELECT sum(count) FROM requests WHERE step = 5") == [(1,)]


def test_the_same_numbers_of_a_series_are_one_row(store):
    add(store, gauge(2, at=-30), gauge(2, at=-20), gauge(2, at=-10), gauge(1, at=0))
    points = rows(store, "SELECT value, until - time FROM points ORDER BY time")
    assert [value for value, _ in points] == [2.0, 1.0]
    assert points[0][1] > 15 * SECOND


def test_one_request_that_cannot_be_written_takes_no_other_with_it(store, monkeypatch):
    original = store._rows._write_log

    def failing(record):
        if record.body == "bad":
            raise sqlite3.DataError("no")
        original(record)

    monkeypatch.setattr(store._rows, "_write_log", failing)
    for request in (lines("good 1"), lines("bad"), lines("good 2")):
        assert store.add(request)
    assert store.flush()
    assert rows(store, "SELECT body FROM logs ORDER BY id") == [("good 1",), ("good 2",)]
    assert store.state.lost == 1


def test_ids_of_zeros_alone_are_none(store):
    identifier, request = search()
    for span in request.resource_spans[0].scope_spans[0].spans:
        if not span.parent_span_id:
            span.parent_span_id = bytes(8)
    _, invalid = search()
    for span in invalid.resource_spans[0].scope_spans[0].spans:
        span.trace_id = bytes(16)
    outside = lines("outside of any trace")
    record = outside.resource_logs[0].scope_logs[0].log_records[0]
    record.trace_id, record.span_id = bytes(16), bytes(8)
    add(store, request, invalid, outside)
    assert rows(store, "SELECT trace_id FROM traces") == [(identifier,)]
    assert rows(store, "SELECT count(*) FROM spans WHERE parent_span_id = ''") == [(1,)]
    assert rows(store, "SELECT trace_id, span_id FROM logs") == [("", "")]


def test_values_that_no_row_can_hold_are_cut_or_left_out(store):
    _, request = search(start=2**64 - 10**9, more={"note": "x" * 100_000, "number": float("nan")})
    add(store, request, gauge(float("nan")), gauge(float("inf")), lines("x" * 100_000))
    ((longest,),) = rows(store, "SELECT max(length(attributes)) FROM spans")
    assert 32_000 < longest < 40_000
    assert rows(store, "SELECT count(*) FROM points") == [(0,)]
    ((body,),) = rows(store, "SELECT body FROM logs")
    assert body.endswith("(cut, 100000 characters)")


# -- bounds -----------------------------------------------------------------------------------


def test_a_full_queue_says_so_and_takes_more_when_it_is_written(tmp_path):
    _, request = search()
    store = Store(tmp_path / "telemetry.db", max_queue=request.ByteSize() * 3)
    try:
        taken = 0
        with store._changed:  # which the writer needs, too
            while store.add(request):
                taken += 1
        assert taken == 3
        assert store.flush()
        assert store.add(request)
    finally:
        store.close()


def test_the_file_stays_within_its_size_and_keeps_the_newest(tmp_path):
    store = Store(tmp_path / "telemetry.db", max_size=2 * 1024**2)
    try:
        for number in range(40):
            requests = [search(number=number * 50 + offset + 1)[1] for offset in range(50)]
            batch = requests[0]
            for request in requests[1:]:
                batch.MergeFrom(request)
            add(store, batch, lines(*[f"line {number}"] * 50), gauge(number))
        eventually(lambda: store.state.size <= 2 * 1024**2 or (store.add(lines("nudge")) and False))
        kept = [number for (number,) in rows(store, "SELECT id FROM traces ORDER BY id")]
        assert 0 < len(kept) < 2000
        assert kept[-1] == 2000
        assert kept[0] > 1
        assert rows(store, "SELECT count(*) FROM spans WHERE trace NOT IN (SELECT id FROM traces)") == [(0,)]
        assert rows(store, "SELECT count(*) FROM calls WHERE span NOT IN (SELECT id FROM spans)") == [(0,)]
        # The full-text indices have let go of them, too, and are sound.
        store._connection.execute("INSERT INTO span_words (span_words) VALUES ('integrity-check')")
        store._connection.execute("INSERT INTO log_words (log_words) VALUES ('integrity-check')")
    finally:
        store.close()
    assert (tmp_path / "telemetry.db").stat().st_size < 4 * 1024**2


def test_what_is_too_old_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_search.viewer.store._RETENTION_INTERVAL", 0.05)
    old = time.time_ns() - 7200 * SECOND
    _, request = search(start=old)
    record = lines("old")
    record.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano = old
    store = Store(tmp_path / "telemetry.db", max_age=3600)
    try:
        add(store, request, record, gauge(1, at=-7200), search()[1], lines("new"), gauge(2))
        eventually(lambda: rows(store, "SELECT count(*) FROM traces") == [(1,)])
        eventually(lambda: rows(store, "SELECT body FROM logs") == [("new",)])
        eventually(lambda: rows(store, "SELECT value FROM points") == [(2.0,)])
        assert rows(store, "SELECT count(*) FROM spans") == [(2,)]
    finally:
        store.close()


def test_everything_can_be_forgotten_at_once(store):
    add(store, search()[1], lines("line"), gauge(1), histogram([1, 0, 0, 0]))
    store.clear()
    for table in ("traces", "spans", "calls", "logs", "points", "resources", "requests", "span_words", "log_words"):
        assert rows(store, f"SELECT count(*) FROM {table}") == [(0,)]
    add(store, search()[1])
    assert rows(store, "SELECT count(*) FROM spans JOIN resources ON resources.id = resource") == [(2,)]


# -- the file ---------------------------------------------------------------------------------


def test_a_file_is_used_again_by_the_next_viewer_and_by_one_at_a_time(tmp_path):
    path = tmp_path / "telemetry.db"
    first = Store(path)
    add(first, search()[1])
    with pytest.raises(StoreError, match=f"{path} is in use by another viewer"):
        Store(path)
    first.close()
    second = Store(path)
    assert rows(second, "SELECT count(*) FROM spans") == [(2,)]
    second.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a database at all" * 100, "file is not a database"), (None, "cannot be opened")],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, reason):
    path = tmp_path / "telemetry.db" if content else tmp_path / "nowhere" / "telemetry.db"
    if content:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=reason):
        Store(path)


def test_a_file_of_another_version_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (id)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="not a file of this version"):
        Store(path)


# -- percentiles ------------------------------------------------------------------------------


def test_a_percentile_is_within_five_percent():
    durations = [1_000_000 + 37_000 * number for number in range(2000)]
    counts = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    for part in (0.5, 0.95, 0.99):
        exact = durations[int(part * len(durations)) - 1]
        assert quantile(counts, part) == pytest.approx(exact, rel=0.05)
    assert quantile({}, 0.5) is None


def test_a_percentile_of_a_histogram_is_linear_within_its_bucket():
    assert quantile_of_histogram((1.0, 2.0, 4.0), (0, 10, 0, 0), 0.5) == pytest.approx(1.5)
    assert quantile_of_histogram((1.0, 2.0, 4.0), (0, 0, 0, 3), 0.5) == 4.0
    assert quantile_of_histogram((1.0, 2.0), (0, 0, 0), 0.5) is None


def test_an_exponential_histogram_has_the_bounds_that_its_scale_means(store):
    request = histogram([0, 0, 0, 0], name="delay")
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    point = metric.exponential_histogram.data_points.add(
        time_unix_nano=time.time_ns(), count=7, sum=20.0, scale=0, zero_count=1
    )
    point.positive.offset = 1
    point.positive.bucket_counts.extend([2, 4])
    add(store, request)
    assert rows(store, "SELECT bounds, buckets FROM points WHERE count = 7") == [("[2.0,4.0,8.0]", "[1,2,4,0]")]


def test_nothing_is_taken_while_nothing_can_be_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_search.viewer.store._RETENTION_INTERVAL", 0.05)
    store = Store(tmp_path / "telemetry.db", max_size=1024**2)
    delete = store._retention.delete_oldest

    def failing():
        raise sqlite3.OperationalError("disk I/O error")

    try:
        store._retention.delete_oldest = failing
        eventually(lambda: not store.add(searches(100)))
        assert store.flush()
        assert store.state.size < 1.5 * 1024**2
        store._retention.delete_oldest = delete
        eventually(lambda: store.add(searches(100)))
    finally:
        store.close()


def searches(count):
    """One export request with many traces, and as many log lines."""
    request = search()[1]
    for _ in range(count - 1):
        request.MergeFrom(search()[1])
    return request


@pytest.mark.parametrize("max_size", [4 * 1024**2, 8 * 1024**2])
def test_what_comes_as_fast_as_it_can_stays_within_the_size(tmp_path, max_size):
    path = tmp_path / "telemetry.db"
    peaks = []

    def look():
        peaks.append(sum(found.stat().st_size for found in tmp_path.iterdir() if found.name.endswith(("db", "wal"))))

    store = Store(path, max_size=max_size)
    try:
        sent = 0
        while sent < 1.5 * max_size:  # several times as much, with its indices
            for request in (searches(100), lines(*["a line that is kept for a while"] * 200), gauge(sent)):
                sent += request.ByteSize()
                while not store.add(request):
                    look()
            look()
        while not store.flush(0.01):
            look()
        assert store.state.lost == 0
        ((kept, newest),) = rows(store, "SELECT count(*), max(id) FROM traces")
        assert max_size // 10_000 < kept < newest / 2
    finally:
        store.close()
    assert path.stat().st_size <= max_size, "it never gets shorter: so large it was at most"
    assert max(peaks) <= 1.2 * max_size, "with SQLite's log beside it"


def test_a_file_that_was_allowed_to_be_larger_is_emptied_beside_what_comes(tmp_path):
    path = tmp_path / "telemetry.db"
    before = Store(path, max_size=64 * 1024**2)
    for _ in range(60):
        assert before.add(searches(100))
    assert before.flush()
    size = before.state.size
    before.close()
    after = Store(path, max_size=size // 4)
    try:
        add(after, search(route="/newest")[1])
        eventually(lambda: after.state.size <= size // 4)
        assert rows(after, "SELECT count(*) FROM traces WHERE route = '/newest'") == [(1,)]
    finally:
        after.close()


def test_resources_alone_do_not_fill_the_file(tmp_path):
    store = Store(tmp_path / "telemetry.db", max_size=1024**2)
    try:
        for number in range(400):
            add(store, lines("line", service=f"{number}" + "s" * 20_000))
        assert store.state.size <= 1024**2
        assert rows(store, "SELECT body FROM logs ORDER BY id DESC LIMIT 1") == [("line",)]
    finally:
        store.close()


def test_log_records_of_any_time_make_room_too(tmp_path):
    store = Store(tmp_path / "telemetry.db", max_size=1024**2)
    try:
        for number in range(40):
            request = lines(*["a line that is kept for a while"] * 200)
            for record in request.resource_logs[0].scope_logs[0].log_records:
                record.time_unix_nano = time.time_ns() - number * SECOND  # the later, the older
            add(store, request, search()[1])
        eventually(lambda: store.state.size <= 1024**2)
        ((kept, newest),) = rows(store, "SELECT count(*), max(id) FROM logs")
        assert 0 < kept < newest == 8000
        store._connection.execute("INSERT INTO log_words (log_words) VALUES ('integrity-check')")
    finally:
        store.close()
