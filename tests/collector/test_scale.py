"""Agents, Kafka and gateways: a trace is judged once and whole, whichever way its spans came, and whoever is killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.backends.collector import Collector
from tests.backends.fixtures import require
from tests.backends.jaeger import Jaeger
from tests.backends.kafka import Kafka
from tests.backends.server import eventually as settle
from tests.collector import otlp
from tests.service import PATIENCE, eventually

pytestmark = pytest.mark.backends

# Short, because a test waits for it; what is late comes after it.
WAIT = 4


@dataclass
class Trace:
    """A request through two services on two nodes, and what makes it interesting."""

    kind: str
    trace_id: str = field(default_factory=lambda: os.urandom(16).hex())

    def __post_init__(self) -> None:
        interesting: dict[str, dict[str, Any]] = {
            "error": {"error": True},
            "slow": {"duration": 1.5},
            "partial": {"search__outcome": "partial"},
            "bulk": {"search__bulk__failed": 3},
            "normal": {"search__outcome": "hits"},
        }
        self.root = otlp.span(self.trace_id, "GET /search", kind=2)
        # What is interesting is told by the other service alone.
        self.call = otlp.span(self.trace_id, "search products", self.root["spanId"], **interesting[self.kind])
        self.late = otlp.span(self.trace_id, "background", self.root["spanId"], error=True)

    @property
    def kept(self) -> bool:
        return self.kind != "normal"


def some_traces(count: int) -> list[Trace]:
    return [Trace(kind) for _ in range(count) for kind in ("error", "slow", "partial", "bulk", "normal", "normal")]


@dataclass(frozen=True)
class Fleet:
    agents: list[Collector]
    gateways: list[Collector]
    jaeger: Jaeger
    sent: set[str] = field(default_factory=set)

    def send(self, agent: int, *spans: dict[str, Any]) -> None:
        with httpx.Client(timeout=30) as client:
            for span in spans:
                self.sent.add(span["traceId"])
                otlp.send(client, self.agents[agent].http_url, "traces", otlp.traces(f"service-{agent}", span))

    def arrived(self, trace: Trace) -> list[str]:
        """The ids of a trace's spans in Jaeger, as often as each is there."""
        return sorted(span.span_id for span in self.jaeger.spans(trace.trace_id))

    def counted(self, gateway: int, metric: str) -> float:
        """What a gateway has counted, over all labels."""
        text = httpx.get(f"http://{self.gateways[gateway].address('metrics')}/metrics", timeout=30).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{metric}{{"))

    def decided(self) -> float:
        """How many traces the gateways have decided on."""
        return sum(
            self.counted(number, "otelcol_processor_tail_sampling_global_count_traces_sampled") for number in (0, 1)
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    for program in ("otelcol-search", "jaeger", "kafka"):
        require(program)
    home = tmp_path_factory.mktemp("fleet")
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(Kafka(home / "kafka"))
        jaeger = stack.enter_context(Jaeger(home / "jaeger"))
        variables = {
            "KAFKA_BROKERS": f"[{kafka.address('broker')}]",
            "KAFKA_AUTO_CREATE_TOPICS": "true",
            "KAFKA_SESSION_TIMEOUT": "6s",
            "TAIL_SAMPLING_WAIT": f"{WAIT}s",
            "TAIL_SAMPLING_PERCENT": "0",
            "JAEGER_OTLP_ENDPOINT": jaeger.address("otlp"),
        }
        agents = [
            stack.enter_context(Collector(home / f"agent-{number}", ("scale/to-kafka",), variables))
            for number in (1, 2)
        ]
        with httpx.Client(timeout=30) as client:
            for signal in ("metrics", "logs"):  # the topics are made by the first that writes to them
                otlp.send(client, agents[0].http_url, signal, otlp.numbered(signal, "first", 1))
        made = Fleet(agents, [], jaeger)
        made.send(0, Trace("normal").root)
        eventually(lambda: all(kafka.stored(topic) for topic in ("otlp_spans", "otlp_metrics", "otlp_logs")))
        layers = ("scale/from-kafka", "scale/tail_sampling", "exporters/jaeger")
        for number in (1, 2):
            made.gateways.append(stack.enter_context(Collector(home / f"gateway-{number}", layers, variables)))

        def both_read() -> bool:
            made.send(0, *(trace.root for trace in some_traces(1)))
            return all(made.counted(number, "otelcol_receiver_accepted_spans") > 0 for number in (0, 1))

        eventually(both_read, timeout=60)
        yield made


def test_a_trace_that_comes_through_two_agents_is_judged_once_and_whole(fleet: Fleet) -> None:
    traces = some_traces(5)
    eventually(lambda: fleet.decided() > 0)
    for trace in traces:
        fleet.send(1, trace.call)
        fleet.send(0, trace.root)
    for trace in traces:
        if trace.kept:
            whole = sorted([trace.root["spanId"], trace.call["spanId"]])
            eventually(lambda trace=trace, whole=whole: fleet.arrived(trace) == whole)
    # What comes after the decision follows it: kept traces stay whole, dropped ones are not torn open by an error.
    kept, dropped = traces[0], traces[-1]
    fleet.send(1, dropped.late, kept.late)
    eventually(lambda: len(fleet.arrived(kept)) == 3)
    assert not [trace for trace in traces if not trace.kept and fleet.arrived(trace)]
    for trace in traces[1:]:
        assert len(fleet.arrived(trace)) == (2 if trace.kept else 0)


def test_each_trace_is_decided_by_one_gateway(fleet: Fleet) -> None:
    assert settle(fleet.decided, lambda decided: decided == len(fleet.sent), timeout=PATIENCE) == len(fleet.sent)


def test_points_and_records_come_through_kafka_too(fleet: Fleet) -> None:
    for kind in ("metric_points", "log_records"):
        metric = f"otelcol_receiver_accepted_{kind}"
        eventually(lambda metric=metric: sum(fleet.counted(number, metric) for number in (0, 1)) == 1)


def test_a_gateway_that_is_killed_in_the_middle_takes_no_trace_with_it(fleet: Fleet) -> None:
    traces = some_traces(5)
    before = [fleet.counted(number, "otelcol_receiver_accepted_spans") for number in (0, 1)]
    fleet.send(0, *(trace.root for trace in traces))

    def read() -> bool:
        now = [fleet.counted(number, "otelcol_receiver_accepted_spans") for number in (0, 1)]
        return sum(now) - sum(before) >= len(traces) and all(map(float.__gt__, now, before))

    eventually(read)
    fleet.gateways[0].kill()
    fleet.send(1, *(trace.call for trace in traces))
    for trace in traces:
        if trace.kept:
            whole = {trace.root["spanId"], trace.call["spanId"]}
            eventually(lambda trace=trace, whole=whole: set(fleet.arrived(trace)) == whole, timeout=90)
    assert not [trace for trace in traces if not trace.kept and fleet.arrived(trace)]
