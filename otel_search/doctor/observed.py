"""What was seen of an application that was started and asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_search.viewer.telemetry import LogRecord, MetricPoint, Span


@dataclass(frozen=True)
class Delivered:
    """One export request that the application sent.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        url: Where it was forwarded to.
        refused: What went wrong there, or empty.
    """

    signal: str
    url: str
    refused: str


@dataclass(frozen=True)
class App:
    """One FastAPI application in a process of the service.

    Attributes:
        title: Its title.
        native: Whether FastAPI's own telemetry makes spans in it.
        contrib: Whether contrib's middleware is in its stack, and not at our bidding.
        ours: Whether it was served through our layer.
    """

    title: str
    native: bool
    contrib: bool
    ours: bool


@dataclass(frozen=True)
class Process:
    """One process of the service, as it sees itself.

    Attributes:
        pid: Its id.
        parent: The id of its parent.
        distro: The class of the distribution in charge, with its module, or empty.
        configured: Whether our configurator has set up the telemetry.
        by_us: Whether the providers are ours.
        providers: The class of each provider, by signal.
        sampler: The sampler in its own words, or empty.
        exporters: The endpoints of OTLP exporters, and the class names of others, by signal.
        instrumented: The instrumentors that are active.
        apps: FastAPI applications.
        fastapi: Whether FastAPI is loaded.
        losses: Items lost, by signal and reason.
    """

    pid: int
    parent: int
    distro: str
    configured: bool
    by_us: bool
    providers: Mapping[str, str]
    sampler: str
    exporters: Mapping[str, Sequence[str]]
    instrumented: Sequence[str]
    apps: Sequence[App]
    fastapi: bool
    losses: Mapping[str, int]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Process:
        """A process from what it says of itself."""
        return cls(**{**facts, "apps": tuple(App(**app) for app in facts["apps"])})


@dataclass
class Observed:
    """What was seen of an application.

    Attributes:
        failed: `not-found`, `unix-socket`, `port-taken`, `ended`, `silent` or `no-answer`, or empty if it answered.
        detail: What went wrong, in words.
        url: What was asked for.
        status: Of its answer.
        trace_id: As its answer says, or empty.
        processes: Those that the launcher has reached.
        spans: That arrived, as all telemetry did at the doctor's relay.
        logs: Log records that arrived.
        metrics: Points that arrived.
        deliveries: What became of each batch behind the relay.
        relays: The relay's addresses.
        output: The last lines that it wrote.
    """

    failed: str = ""
    detail: str = ""
    url: str = ""
    status: int = 0
    trace_id: str = ""
    processes: list[Process] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    metrics: list[MetricPoint] = field(default_factory=list)
    deliveries: list[Delivered] = field(default_factory=list)
    relays: set[str] = field(default_factory=set)
    output: list[str] = field(default_factory=list)

    @property
    def server_spans(self) -> list[Span]:
        """The server spans of the one request."""
        return [span for span in self.spans if span.kind == "SERVER"]

    @property
    def workers(self) -> list[Process]:
        """The processes that serve, as far as can be told: those that have an application."""
        return [process for process in self.processes if process.apps]

    @property
    def starting(self) -> list[Process]:
        """The processes that are to serve and do not yet: the workers' siblings that have no application."""
        parents = {worker.parent for worker in self.workers}
        return [process for process in self.processes if not process.apps and process.parent in parents]
