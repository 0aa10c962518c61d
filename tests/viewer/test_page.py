"""Every view of the page, from what was sent to what is shown."""

from __future__ import annotations

import re
import threading
import time

import httpx
import pytest

from otel_search.viewer.page.rendering import as_console, as_curl, duration, percent, quantity
from tests.service import eventually
from tests.viewer.telemetry import SECOND, counter, gauge, histogram, lines, search

VIEWS = ("/", "/traces", "/searches", "/logs", "/metrics", "/health", "/map")
WINDOWS = ("5m", "15m", "1h", "6h", "24h")


def words_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


# -- now --------------------------------------------------------------------------------------


def test_now_tells_rates_errors_durations_and_what_is_worth_a_look(running):
    empty = {"search.outcome": "empty", "search.hits.total": 0}
    running.send(
        *(search(duration=20)[1] for _ in range(17)),
        search(more=empty)[1],
        search(more={"search.outcome": "partial", "search.shards.failed": 1})[1],
        search(status=500, duration=900)[1],
    )
    text = words_of(running.page("/"))
    assert "Errors 5.0 % 1 request" in text
    assert re.search(r"Median (19|20|21)\.\d ms", text)
    assert "Without hits 5.0 % 1 of 20 searches" in text
    assert "Partial or failed 5.0 % 1 partial, 0 failed" in text
    worth = text.partition("Worth a look")[2]
    assert all(word in worth for word in ("✕ 500", "◐ partial", "○ no hits"))
    assert "GET /products/search shop 20 5.0 %" in text


def test_every_view_says_what_to_do_while_there_is_nothing(running):
    for view in VIEWS:
        text = words_of(running.page(view))
        assert "opentelemetry-instrument uvicorn app:app" in text or "new ones show up here" in text, view


def test_every_window_shows_what_was_just_sent(running):
    running.send(search(service="products shop")[1], histogram([1, 0, 0, 0], at=-1, service="products shop"))
    for view in ("/", "/searches", "/health", "/map", "/metrics/http.server.request.duration"):
        for window in WINDOWS:
            assert "products" in running.page(f"{view}?window={window}"), (view, window)


# -- traces -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(shared):
    """Which of four traces a view of traces shows."""
    sent = {
        "fast": search(text="sandals", duration=5),
        "slow": search(duration=1500, route="/products/report"),
        "failed": search(status=500, service="other shop"),
        "empty": search(more={"search.outcome": "empty"}),
    }
    shared.send(*(request for _, request in sent.values()))
    shared.send(lines("the warehouse is closed", trace=sent["slow"][0]))

    def find(query):
        html = shared.page(f"/traces?{query}")
        return {name for name, (identifier, _) in sent.items() if f'href="/traces/{identifier}"' in html}

    return find


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"fast", "slow", "failed", "empty"}),
        ("q=sandals", {"fast"}),
        ("q=Sand", {"fast"}),
        ("q=products+report", {"slow"}),
        ("q=warehouse", {"slow"}),
        ("q=%22)(*", set()),
        ("q=nothing-like-it", set()),
        ("route=/products/report", {"slow"}),
        ("service=other+shop", {"failed"}),
        ("status=5xx", {"failed"}),
        ("status=500", {"failed"}),
        ("status=2xx&min=1000", {"slow"}),
        ("outcome=errors", {"failed"}),
        ("outcome=empty", {"empty"}),
        ("outcome=any", {"empty"}),
        ("min=1000", {"slow"}),
        ("sort=slowest", {"fast", "slow", "failed", "empty"}),
        ("before=1", set()),
    ],
)
def test_traces_are_found_by(found, query, expected):
    assert found(query) == expected


def test_the_slowest_traces_come_first_if_asked_for(running):
    sent = {duration: search(duration=duration)[0:2] for duration in (30, 500, 60)}
    running.send(*(request for _, request in sent.values()))
    order = re.findall(r'href="/traces/([0-9a-f]{32})"', running.page("/traces?sort=slowest"))
    assert order == [sent[500][0], sent[60][0], sent[30][0]]


def test_older_traces_are_a_page_away(running):
    now = time.time_ns()
    running.send(*(search(number=number, start=now - (200 - number) * SECOND)[1] for number in range(1, 121)))
    seen, path = [], "/traces"
    while path:
        html = running.page(path)
        seen += re.findall(r'href="/traces/([0-9a-f]{32})"', html)
        older = re.search(r'href="(/traces\?[^"]*before=\d+[^"]*)">Older', html)
        path = older and older[1].replace("&amp;", "&")
    assert seen == [f"{number:032x}" for number in range(120, 0, -1)]


def test_a_trace_id_in_the_text_opens_the_trace(running):
    identifier, request = search()
    running.send(request)
    response = running.client.get(f"/traces?q={identifier.upper()}")
    assert (response.status_code, response.headers["location"]) == (307, f"/traces/{identifier}")


def test_a_trace_shows_its_call_with_took_hits_shards_query_and_log_lines(running):
    identifier, request = search(
        duration=22,
        took=0.004,
        more={"search.outcome": "partial", "search.shards.failed": 2, "search.retries": 1, "search.hits.total": 50},
    )
    running.send(request, lines("products found", trace=identifier, total=50), lines("of another trace"))
    html = running.page(f"/traces/{identifier}")
    text = words_of(html)
    assert "took 4.00 ms of 20.0 ms" in text
    assert "query match" in text
    assert "hits 50" in text
    assert "failed shards 2" in text
    assert "retries 1" in text
    assert "◐ partial" in text
    assert "products found total= 50" in text
    assert "of another trace" not in text
    assert "&#34;match&#34;: {\n" in html
    assert "curl -X POST http://127.0.0.1:9200/products/_search -H" in html
    assert "POST /products/_search\n{\n" in html
    assert 'href="/searches/00000000c0ffee00"' in html


def test_a_trace_that_is_only_in_the_logs_shows_them(running):
    running.send(lines("orphan", trace="ab" * 16))
    assert "orphan" in running.page(f"/traces/{'ab' * 16}")
    assert "Not here" in running.page(f"/traces/{'cd' * 16}", status=404)
    running.page("/traces/nonsense", status=404)


def test_spans_that_are_their_own_parents_are_all_shown(running):
    identifier, request = search()
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[0].parent_span_id, spans[1].parent_span_id = spans[1].span_id, spans[0].span_id
    spans.add(
        trace_id=spans[0].trace_id,
        span_id=b"\3" * 8,
        parent_span_id=b"\3" * 8,
        name="its own",
        start_time_unix_nano=time.time_ns(),
    )
    running.send(request)
    html = running.page(f"/traces/{identifier}")
    assert len(re.findall(r'<details class="span ', html)) == 3
    assert "The root span has not come" in html


# -- searches ---------------------------------------------------------------------------------


def test_searches_are_counted_by_shape(running):
    empty = {"search.outcome": "empty", "search.hits.total": 0}
    other = {"search.query.hash": "feed", "db.query.text": '{"query":{"term":{"id":"?"}}}', "search.query.type": "term"}
    running.send(
        *(search(more=empty if number < 3 else {})[1] for number in range(12)),
        *(search(more=other, duration=500)[1] for _ in range(2)),
    )
    text = words_of(running.page("/searches"))
    assert re.search(r"search products match .* 12 .* 4\.00 ms ○ 25\.0 %", text)
    assert re.search(r"search products term .* 2 .*", text)
    assert text.index("match") < text.index("term ")
    by_duration = words_of(running.page("/searches?sort=p95"))
    assert by_duration.index("term ") < by_duration.index("match")


def test_one_shape_has_its_query_and_its_slowest_and_empty_calls(running):
    slow, request = search(duration=800)
    empty, other = search(more={"search.outcome": "empty"})
    running.send(request, other)
    html = running.page("/searches/00000000c0ffee00")
    slowest, _, rest = html.partition("Without hits</h2>")
    assert slow in slowest.partition("Slowest</h2>")[2]
    assert empty in rest.partition("</section>")[0]
    assert slow not in rest.partition("</section>")[0]
    assert "&#34;match&#34;" in html
    running.page("/searches/no-such-shape", status=404)


# -- logs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logged(shared):
    shared.send(
        lines("line one", trace="ab" * 16, color="blue"),
        lines("line two", severity=13, logger="shop.cart"),
        lines("line three", severity=17, service="other"),
    )
    return shared


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"one", "two", "three"}),
        ("level=warning", {"two", "three"}),
        ("level=error", {"three"}),
        ("logger=shop.cart", {"two"}),
        ("q=thr", {"three"}),
        ("q=blue", {"one"}),
        (f"trace={'ab' * 16}", {"one"}),
        ("service=other", {"three"}),
        ("level=warning&service=shop", {"two"}),
    ],
)
def test_log_lines_are_found_by(logged, query, expected):
    text = words_of(logged.page(f"/logs?{query}"))
    assert {word for word in ("one", "two", "three") if f"line {word}" in text} == expected


def test_a_log_body_may_be_of_any_kind(running):
    running.send(lines(["a", 1], 42, True))
    text = words_of(running.page("/logs"))
    assert all(word in text for word in ("[&#34;a&#34;,1]", "42", "true"))


def test_the_tail_has_what_came_after_and_says_from_where_to_go_on(running):
    running.send(lines("first"))
    start = re.search(r'hx-get="(/logs/tail[^"]*)"', running.page("/logs"))[1].replace("&amp;", "&")
    running.send(lines("second"), lines("third", severity=17))
    tail = running.page(start)
    assert [body for body in ("first", "second", "third") if body in tail] == ["second", "third"]
    again = re.search(r'hx-get="(/logs/tail[^"]*)"', tail)[1].replace("&amp;", "&")
    assert 'class="line' not in running.page(again)
    assert "second" not in running.page(f"{start}&level=error")
    running.viewer.store.clear()
    running.send(lines("after all was forgotten"))
    assert "after all was forgotten" in running.page(again)


# -- metrics ----------------------------------------------------------------------------------


def test_a_histogram_has_percentiles_and_exemplars_that_open_their_traces(running):
    identifier, request = search()
    running.send(
        request,
        histogram([0, 90, 10, 0], at=-12, exemplar=identifier, **{"http.route": "/products/search"}),
        histogram([10, 0, 0, 0], at=-12, **{"http.route": "/other"}),
    )
    html = running.page("/metrics/http.server.request.duration?window=5m")
    assert f'href="/traces/{identifier}#span-0101010101010101"' in html
    assert "GET</span> /products/search" in html
    charts = charts_of(html)
    assert [line["label"] for line in charts["percentiles"]["lines"]] == ["p50", "p95", "p99"]
    p95 = [value for value in charts["percentiles"]["lines"][1]["values"] if value is not None]
    assert p95 == [pytest.approx(0.505, abs=0.05)]
    assert charts["percentiles"]["points"][0]["url"] == f"/traces/{identifier}"
    by_route = charts_of(running.page("/metrics/http.server.request.duration?window=5m&by=http.route"))
    assert {line["label"] for line in by_route["p95"]["lines"]} == {"/products/search", "/other"}


def test_a_counter_is_shown_as_a_rate_and_survives_a_restart(running):
    name = "search.client.searches"
    for value, at in ((100, -55), (150, -50), (160, -40), (5, -20)):
        request = counter(value, name=name, at=at, **{"search.outcome": "hits"})
        if value == 5:  # the process began anew
            point = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
            point.start_time_unix_nano = point.time_unix_nano - SECOND
        running.send(request)
    (line,) = charts_of(running.page(f"/metrics/{name}?window=5m"))["values"]["lines"]
    # The first value was counted since a minute before now, which is in the window.
    assert sum(line["values"]) * 5 == pytest.approx(100 + 50 + 10 + 5)


def test_a_gauge_is_shown_as_it_is_and_by_each_series(running):
    running.send(
        gauge(0.25, name="search.memory.utilization", at=-20, host="a"),
        gauge(0.75, name="search.memory.utilization", at=-20, host="b"),
    )
    lines_shown = charts_of(running.page("/metrics/search.memory.utilization?window=5m"))["values"]["lines"]
    assert [line["label"] for line in lines_shown] == ["b", "a"]
    assert lines_shown[0]["values"][-1] == 0.75


def test_metrics_are_found_by_their_names(running):
    running.send(gauge(1, name="search.health.status"), gauge(1, name="process.memory.usage", unit="By"))
    html = running.page("/metrics?q=health")
    assert "search.health.status" in html
    assert "process.memory.usage" not in html
    running.page("/metrics/no.such.metric", status=404)


def charts_of(html):
    import html as entities
    import json

    charts = [json.loads(entities.unescape(text)) for text in re.findall(r'data-chart="([^"]*)"', html)]
    return {chart["id"]: chart for chart in charts}


# -- health and map ---------------------------------------------------------------------------


def test_health_shows_components_alerts_and_key_figures(running):
    running.send(
        gauge(1, **{"search.health.component": "elasticsearch"}),
        gauge(2, **{"search.health.component": "memory"}),
        gauge(
            1, name="search.alerts.firing", **{"search.alert.name": "SlowSearches", "search.alert.severity": "warning"}
        ),
        gauge(0, name="search.alerts.firing", **{"search.alert.name": "Quiet", "search.alert.severity": "warning"}),
        counter(8, name="search.client.searches", at=-1, **{"search.outcome": "hits"}),
        counter(2, name="search.client.searches", at=-1, **{"search.outcome": "empty"}),
    )
    text = words_of(running.page("/health"))
    assert re.search(r"elasticsearch i-1 since \S+ ! degraded", text)
    assert re.search(r"memory i-1 since \S+ ✓ healthy", text)
    assert re.search(r"SlowSearches since \S+ ✕ warning", text)
    assert "Quiet" not in text
    assert "Searches 10 Without hits 20.0 %" in text


def test_the_map_has_services_and_what_they_call(running):
    identifier, request = search(service="front")
    call = request.resource_spans[0].scope_spans[0].spans[1]
    del call.attributes[:]
    from tests.viewer.telemetry import pairs

    call.attributes.extend(pairs({"server.address": "shop.internal", "server.port": 8000}))
    _, answered = search(service="shop")
    spans = answered.resource_spans[0].scope_spans[0].spans
    for span in spans:
        span.trace_id = bytes.fromhex(identifier)
    spans[0].span_id, spans[0].parent_span_id = b"\5" * 8, call.span_id
    spans[1].span_id, spans[1].parent_span_id = b"\6" * 8, b"\5" * 8
    running.send(request, answered)
    text = words_of(running.page("/map"))
    assert "front shop 1" in text
    assert "shop elasticsearch 127.0.0.1 1" in text
    assert "shop.internal" not in text


# -- live -------------------------------------------------------------------------------------


def test_an_open_page_is_told_what_has_come(running):
    heard = []

    def listen():
        with httpx.stream("GET", f"{running.viewer.url}/live", timeout=60, trust_env=False) as response:
            heard.append(response.headers["content-type"])
            for line in response.iter_lines():
                if line.startswith("event:"):
                    heard.append(line)

    listener = threading.Thread(target=listen)
    listener.start()
    eventually(lambda: "event: hello" in heard)
    running.send(search()[1])
    eventually(lambda: "event: spans" in heard)
    running.send(lines("a"), gauge(1))
    eventually(lambda: {"event: logs", "event: points"} <= set(heard))
    assert heard[0].startswith("text/event-stream")
    running.viewer.stop()  # the end of the viewer ends the stream, too
    listener.join(30)
    assert not listener.is_alive()


def test_everything_can_be_forgotten_by_the_button(running):
    running.send(search()[1])
    response = running.client.post("/clear", headers={"origin": running.viewer.url})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert running.rows("SELECT count(*) FROM spans") == [(0,)]


# -- words ------------------------------------------------------------------------------------


def test_numbers_are_said_for_people():
    assert [duration(value) for value in (0, 850, 12_340, 1_234_000, 12_340_000, 123_400_000, 2.5e9, 75e9, None)] == [
        "0 ms", "850 ns", "12.3 µs", "1.23 ms", "12.3 ms", "123 ms", "2.50 s", "1 min 15 s", "\N{EN DASH}",
    ]  # fmt: skip
    assert [quantity(value, unit) for value, unit in ((0.25, "1"), (3 * 1024**2, "By"), (12, "{item}"), (2, "s"))] == [
        "25 %", "3 MiB", "12 item", "2.00 s",
    ]  # fmt: skip
    assert [percent(part, whole) for part, whole in ((0, 5), (5, 5), (1, 3), (1, 0), (99999, 100000))] == [
        "0 %", "100 %", "33.3 %", "\N{EN DASH}", "99.9 %",
    ]  # fmt: skip


def test_a_call_can_be_made_again_whatever_is_in_it():
    body = """{"query":{"match":{"name":"it's; rm -rf / $(x)"}}}"""
    assert as_curl("POST", "http://h/i/_search?q=a b", body) == (
        "curl -X POST 'http://h/i/_search?q=a b' -H 'content-type: application/json' --data-binary "
        """'{"query":{"match":{"name":"it'"'"'s; rm -rf / $(x)"}}}'"""
    )
    assert as_console("GET", "http://h:9200/i/_search?size=1", '{"a":1}') == 'GET /i/_search?size=1\n{\n  "a": 1\n}'
    assert as_console("", "http://h", "not json") == "GET /\nnot json"
