"""What is sent arrives, once; whatever is away for a while, and whatever happens to the Collector meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from otel_search.demo import engine, load
from otel_search.demo.run import fill
from otel_search.processes import Processes
from tests.backends.collector import Collector
from tests.backends.server import eventually as settle
from tests.backends.server import free_ports
from tests.collector import otlp
from tests.collector.conftest import FanOut
from tests.collector.log_store import LogStore
from tests.collector.sender import Sender
from tests.service import PATIENCE, eventually, serve

pytestmark = pytest.mark.backends

T = TypeVar("T")

HANDED_OVER = 0.5
"""Seconds after which what the Collector has accepted is in its queue on disk: milliseconds, but for a busy machine."""


def arrives(read: Callable[[], T], expected: T) -> None:
    """Wait for a state, and show how the last one differs."""
    assert settle(read, lambda state: state == expected, timeout=PATIENCE) == expected


def test_every_span_point_and_record_of_the_demo_arrives_exactly_once(fan_out: FanOut, tmp_path: Path) -> None:
    service = "product-search-counted"
    with Processes(tmp_path) as processes:
        engine_url = engine.start_engine(processes, os.environ)
        asyncio.run(fill(engine_url))
        variables = {
            "ELASTICSEARCH_URL": engine_url,
            "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS,
            "OTEL_EXPORTER_OTLP_ENDPOINT": fan_out.collector.http_url,
            "OTEL_SERVICE_NAME": service,
        }
        with serve("otel_search.demo.app:app", env=variables) as shop:
            outcomes = load.send(shop.url)
            traces = {outcome.trace_id: outcome.request for outcome in outcomes}
            assert len(traces) == len(outcomes)
            shop.stop()
            lines = [event for event in shop.events() if event.get("trace_id") in traces]

    expected = Counter(
        {
            # The server's span, that of each call, and that of the helper that makes the bulk calls.
            trace_id: 1 + request.calls + (request.route == "/products/bulk")
            for trace_id, request in traces.items()
        }
    )

    def stored() -> Counter[str]:
        return Counter(trace_id for trace_id, _ in fan_out.spans(service).elements() if trace_id in traces)

    arrives(stored, expected)
    assert set(fan_out.spans(service).values()) == {1}

    requests = f'sum by (http_response_status_code) (http_server_request_duration_seconds_count{{job="{service}"}})'

    def answered() -> Counter[str]:
        series = fan_out.prometheus.query(requests)
        return Counter({each.labels["http_response_status_code"]: int(each.value) for each in series})

    arrives(answered, Counter(str(outcome.status) for outcome in outcomes))
    calls = f"sum(db_client_operation_duration_seconds_count{{job='{service}'}})"
    ((made,),) = [[each.value for each in fan_out.prometheus.query(calls)]]
    assert made >= sum(request.calls for request in traces.values())

    def written() -> Counter[tuple[str, str]]:
        records = [record for name, record in fan_out.logs.records if name == service]
        found = [(record.trace_id.hex(), record.body.string_value) for record in records]
        return Counter(each for each in found if each[0] in traces)

    said = Counter((line["trace_id"], line["event"]) for line in lines)
    assert len(said) >= len(traces)
    arrives(written, said)
    assert fan_out.logs.authorization == {"ApiKey key"}


def test_spans_become_metrics_that_jaegers_monitor_and_exemplars_use(fan_out: FanOut) -> None:
    service = "monitored"
    trace_id = os.urandom(16).hex()
    counted = f'traces_search_calls_total{{job="{service}", instance="one"}}'
    with httpx.Client() as client:
        for _ in range(2):
            server = otlp.span(trace_id, "GET /search", kind=2)
            call = otlp.span(
                trace_id,
                "search products",
                server["spanId"],
                db__system__name="elasticsearch",
                db__operation__name="search",
                db__collection__name="products",
                search__query__type="match",
                search__outcome="empty",
                api_key="hunter2",
            )
            otlp.send(client, fan_out.collector.http_url, "traces", otlp.traces(service, server, call))
            eventually(lambda: fan_out.prometheus.query(counted))
        (series,) = eventually(lambda: fan_out.prometheus.query(f"{counted} == 2"))
        assert series.labels["search_query_type"] == "match"
        assert series.labels["search_outcome"] == "empty"
        assert series.labels["db_collection_name"] == "products"
        exemplars = fan_out.prometheus.exemplars(f'traces_search_duration_seconds_bucket{{job="{service}"}}')
        assert {each.labels["trace_id"] for each in exemplars} == {trace_id}
        now = int(time.time() * 1000)
        asked = {"service": service, "spanKind": "server", "lookback": "300000", "step": "5000", "ratePer": "600000"}

        def monitor() -> list[object]:
            answer = client.get(f"{fan_out.jaeger.url}/api/metrics/calls", params={**asked, "endTs": str(now + 10_000)})
            return answer.json()["metrics"]

        assert eventually(monitor)
    stored = eventually(lambda: fan_out.jaeger.spans(trace_id))
    assert "hunter2" not in str(stored)


def away_and_back(fan_out: FanOut) -> dict[str, tuple[str, Callable[[], None], Callable[[], None]]]:
    """Each outage: the signal that it holds up, how it begins and how it ends."""

    def status(number: int) -> Callable[[], None]:
        return lambda: setattr(fan_out.logs, "status", number)

    return {
        "jaeger": ("traces", fan_out.jaeger.stop, lambda: fan_out.jaeger.start(again=True)),
        "jaeger's storage": ("traces", fan_out.storage.stop, lambda: fan_out.storage.start(again=True)),
        "prometheus": ("metrics", fan_out.prometheus.stop, lambda: fan_out.prometheus.start(again=True)),
        "elasticsearch refuses connections": ("logs", fan_out.logs.stop, fan_out.logs.start),
        "elasticsearch is silent": ("logs", fan_out.logs.fall_silent, fan_out.logs.speak),
        "elasticsearch is overloaded": ("logs", status(429), status(200)),
        "elasticsearch is unavailable": ("logs", status(503), status(200)),
    }


OUTAGES = (
    "jaeger",
    "jaeger's storage",
    "prometheus",
    "elasticsearch refuses connections",
    "elasticsearch is silent",
    "elasticsearch is overloaded",
    "elasticsearch is unavailable",
)


@pytest.mark.parametrize("outage", OUTAGES)
def test_one_backend_away_holds_up_no_other_and_loses_nothing(fan_out: FanOut, outage: str) -> None:
    signal, begin, end = away_and_back(fan_out)[outage]
    others = [other for other in otlp.SIGNALS if other != signal]
    with Sender(fan_out.collector.http_url, f"during: {outage}") as sender:
        eventually(lambda: all(len(fan_out.numbers(each, sender.service)) > 5 for each in otlp.SIGNALS))
        begin()
        try:
            arrived = {other: max(sender.numbers(other)) for other in others}
            for other in others:
                # While it is away the others get what is sent now.
                eventually(lambda other=other: max(fan_out.numbers(other, sender.service)) > arrived[other] + 20)
        finally:
            end()
        sender.end()
    assert sender.refused == 0
    for each in otlp.SIGNALS:
        arrives(lambda each=each: set(fan_out.numbers(each, sender.service)), sender.numbers(each))
    for other in others:
        assert set(fan_out.numbers(other, sender.service).values()) == {1}, "the others are undisturbed"


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_the_collector_restarted_during_an_outage_of_everything_loses_nothing(fan_out: FanOut, kill: bool) -> None:
    with Sender(fan_out.collector.http_url, f"all away, killed={kill}") as sender:
        eventually(lambda: all(len(fan_out.numbers(each, sender.service)) > 5 for each in otlp.SIGNALS))
        fan_out.jaeger.stop()
        fan_out.prometheus.stop()
        fan_out.logs.stop()
        before = {each: max(sender.numbers(each)) for each in otlp.SIGNALS}
        eventually(lambda: all(max(sender.numbers(each)) > before[each] + 20 for each in otlp.SIGNALS))
        ended = time.monotonic()
        (fan_out.collector.kill if kill else fan_out.collector.stop)()
        fan_out.collector.start(again=True)
        resumed = {each: max(sender.numbers(each)) for each in otlp.SIGNALS}
        eventually(lambda: all(max(sender.numbers(each)) > resumed[each] + 20 for each in otlp.SIGNALS))
        fan_out.logs.start()
        fan_out.prometheus.start(again=True)
        fan_out.jaeger.start(again=True)
        sender.end()
    assert sender.refused > 0, "it was down for a moment"
    for each in otlp.SIGNALS:
        # A kill may take what was accepted just before it, and nothing else.
        risked = {number for number, taken in sender.taken[each].items() if kill and 0 <= ended - taken < HANDED_OVER}
        sure = sender.numbers(each) - risked
        eventually(lambda each=each, sure=sure: sure <= set(fan_out.numbers(each, sender.service)))
        arrived = set(fan_out.numbers(each, sender.service))
        assert len(sender.numbers(each) - arrived) <= 8, "a few requests between the receiver and the queue"


def test_a_full_queue_is_counted_and_disturbs_nobody(fan_out: FanOut, tmp_path: Path) -> None:
    variables = {
        "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{free_ports(1)[0]}",
        "ELASTICSEARCH_URL": "",
        "PROMETHEUS_URL": fan_out.prometheus.url,
        "COLLECTOR_QUEUE_BYTES": "20000",
    }
    with LogStore() as logs:
        variables["ELASTICSEARCH_URL"] = logs.url
        layers = ("exporters/jaeger", "exporters/prometheus", "exporters/elasticsearch-otlp")
        with Collector(tmp_path, layers, variables) as collector, Sender(collector.http_url, "full queue") as sender:

            def lost() -> float:
                text = httpx.get(f"http://{collector.address('metrics')}/metrics").text
                found = [
                    line for line in text.splitlines() if line.startswith("otelcol_exporter_enqueue_failed_spans{")
                ]
                return sum(float(line.split()[-1]) for line in found if 'exporter="otlp_grpc/jaeger"' in line)

            eventually(lambda: lost() > 10)
            sender.end()
            assert sender.refused == 0
            eventually(lambda: {int(body) for body in logs.bodies("full queue")} == sender.numbers("logs"))
            eventually(lambda: set(fan_out.numbers("metrics", "full queue")) == sender.numbers("metrics"))
            assert set(logs.bodies("full queue").values()) == {1}
            assert set(fan_out.numbers("metrics", "full queue").values()) == {1}
