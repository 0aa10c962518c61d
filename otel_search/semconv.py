"""The telemetry schema: every attribute, metric and log field that otel-search emits.

Names of OpenTelemetry's semantic conventions (1.44) are used where there is one; ours carry the
prefix `search.`. Code, dashboards, rules and documentation are written against this page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SCOPE = "otel_search"
"""Name of the instrumentation scope of what otel-search itself emits."""

# -- attributes of the HTTP server span -------------------------------------------------------
CLIENT_ADDRESS = "client.address"
ERROR_TYPE = "error.type"
HTTP_REQUEST_METHOD = "http.request.method"
HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
HTTP_ROUTE = "http.route"
PROTOCOL_VERSION = "network.protocol.version"
URL_PATH = "url.path"
URL_QUERY = "url.query"
URL_SCHEME = "url.scheme"
USER_AGENT = "user_agent.original"
REQUEST_ID = "search.request.id"
RESPONSE_STREAM = "search.response.stream"
CLIENT_LEFT = "search.client.left"
# Who the caller is: on spans, log lines and in KPIs, and never an attribute of a metric.
ENDUSER_PSEUDO_ID = "enduser.pseudo.id"
SESSION_ID = "session.id"
WEBSOCKET_CLOSE_CODE = "search.websocket.close_code"

# -- attributes of an Elasticsearch call ------------------------------------------------------
DB_COLLECTION = "db.collection.name"
DB_NAMESPACE = "db.namespace"
DB_OPERATION = "db.operation.name"
DB_BATCH_SIZE = "db.operation.batch.size"
DB_QUERY_SUMMARY = "db.query.summary"
DB_QUERY_TEXT = "db.query.text"
DB_RETURNED_ROWS = "db.response.returned_rows"
DB_STATUS_CODE = "db.response.status_code"
DB_SYSTEM = "db.system.name"
ELASTICSEARCH = "elasticsearch"
ELASTICSEARCH_NODE = "elasticsearch.node.name"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
URL_FULL = "url.full"

# What the request asks.
QUERY_TYPE = "search.query.type"
QUERY_FILTERED = "search.query.filtered"
QUERY_AGGREGATED = "search.query.aggregated"
QUERY_SORTED = "search.query.sorted"
QUERY_SIZE = "search.query.size"
QUERY_FROM = "search.query.from"
QUERY_DEPTH = "search.query.depth"
QUERY_HASH = "search.query.hash"
QUERY_PAGING = "search.query.paging"

# What the reply says.
OUTCOME = "search.outcome"
TOOK = "search.took"
HITS_TOTAL = "search.hits.total"
HITS_RELATION = "search.hits.relation"
TIMED_OUT = "search.timed_out"
TERMINATED_EARLY = "search.terminated_early"
AGGREGATIONS = "search.aggregations"
SHARDS_TOTAL = "search.shards.total"
SHARDS_FAILED = "search.shards.failed"
SHARDS_SKIPPED = "search.shards.skipped"
FIRST_FAILURE = "search.failure"
CLUSTERS_FAILED = "search.clusters.failed"
BULK_ACTION = "search.bulk.action"
BULK_OK = "search.bulk.ok"
BULK_FAILED = "search.bulk.failed"
BULK_ERRORS = "search.bulk.errors"
BATCH_FAILED = "search.batch.failed"
BY_QUERY_TOTAL = "search.by_query.total"
BY_QUERY_FAILED = "search.by_query.failed"
VERSION_CONFLICTS = "search.version_conflicts"

# How it went on the way.
RETRIES_MADE = "search.retries"
RETRY_EVENT = "search.retry"
RETRY_ATTEMPT = "search.retry.attempt"
RETRY_DELAY = "search.retry.delay"
RETRY_REASON = "search.retry.reason"
NODE_STATE = "search.node.state"
POOL_NAME = "db.client.connection.pool.name"
POOL_STATE = "db.client.connection.state"
SNIFF_EVENT = "search.sniff"
SNIFF_NODES = "search.sniff.nodes"
SLOW = "search.slow"
SUPPRESSED = "search.log.suppressed"
SUPPRESSED_KIND = "search.log.suppressed.kind"
LOG_REFUSED = "search.log.refused"
"""On a log record in Elasticsearch: what its mapping did not take, as text."""
LOG_SAMPLED = "sampled"
"""On a log line: how many like it were left out before it."""

ELASTICSEARCH_OPERATION = "elasticsearch operation"
"""The log line of an Elasticsearch call; its fields are the attributes of the call's span."""
OPERATIONS_SUPPRESSED = "elasticsearch operations suppressed"
"""Says how many such lines were not written, when there were too many of one kind."""
REDACTED_KIND = "search.redaction.kind"
OTHER = "_other"
"""Stands for all values of a metric's attribute beyond a bounded number of them."""

# -- attributes of a business operation -------------------------------------------------------
OPERATION_NAME = "search.operation.name"
OPERATION_OUTCOME = "search.operation.outcome"

OPERATION_STARTED = "operation started"
OPERATION_COMPLETED = "operation completed"

# -- exceptions -------------------------------------------------------------------------------
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"
EXCEPTION_TYPE = "exception.type"

# -- fields of a log line ---------------------------------------------------------------------
LOG_TIMESTAMP = "timestamp"
LOG_LEVEL = "level"
LOG_EVENT = "event"
LOG_LOGGER = "logger"
LOG_TRACE_ID = "trace_id"
LOG_SPAN_ID = "span_id"
LOG_TRACE_FLAGS = "trace_flags"
LOG_REQUEST_ID = "request_id"
LOG_SERVICE_NAME = "service.name"
LOG_DURATION = "duration"

LOG_HEAD = (
    LOG_TIMESTAMP,
    LOG_LEVEL,
    LOG_EVENT,
    LOG_LOGGER,
    LOG_TRACE_ID,
    LOG_SPAN_ID,
    LOG_TRACE_FLAGS,
    LOG_REQUEST_ID,
    LOG_SERVICE_NAME,
)
"""The fields that every log line owns, in their order; an event's own fields come after them."""

REQUEST_STARTED = "request started"
REQUEST_COMPLETED = "request completed"
WEBSOCKET_COMPLETED = "websocket completed"
LIMIT_SOURCE = "search.limit.source"
HEALTH_COMPONENT = "search.health.component"
HEALTH_REASON = "search.health.reason"
PROBE_FAILS = "probe fails"
PROBE_SUCCEEDS = "probe succeeds again"

# -- alerts -----------------------------------------------------------------------------------
ALERT_NAME = "search.alert.name"
ALERT_SEVERITY = "search.alert.severity"
ALERT_SUMMARY = "search.alert.summary"
ALERT_VALUE = "search.alert.value"
ALERT_LABELS = "search.alert.labels"
ALERT_RUNBOOK = "search.alert.runbook"
NOTIFICATION_RECEIVER = "search.notification.receiver"
NOTIFICATION_OUTCOME = "search.notification.outcome"
ALERT_FIRING = "alert firing"
ALERT_RESOLVED = "alert resolved"

# -- metrics ----------------------------------------------------------------------------------
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: the conventions' buckets for HTTP durations."""

DB_DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Seconds: the conventions' buckets for `db.client.operation.duration`."""

ROWS_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
"""Rows: the conventions' buckets for `db.client.response.returned_rows`."""


@dataclass(frozen=True)
class Metric:
    """One metric of the schema.

    Attributes:
        instrument: The kind of instrument, as in the name of the meter's `create_` method.
        unit: In UCUM: `s`, `By`, `{thing}`.
        attributes: The attribute keys that its points may carry.
        buckets: Upper bounds of a histogram's buckets, in `unit`.
    """

    name: str
    instrument: Literal["counter", "up_down_counter", "histogram", "gauge"]
    unit: str
    description: str
    attributes: tuple[str, ...]
    buckets: tuple[float, ...] | None = None

    def observed_on(self, meter: Any, callback: Any) -> Any:
        """The asynchronous instrument of this metric on an OpenTelemetry `meter`: `callback` is asked at collection."""
        create = getattr(meter, f"create_observable_{self.instrument}")
        return create(self.name, callbacks=[callback], unit=self.unit, description=self.description)

    def on(self, meter: Any) -> Any:
        """The instrument of this metric on an OpenTelemetry `meter`."""
        create = getattr(meter, f"create_{self.instrument}")
        advisory = {} if self.buckets is None else {"explicit_bucket_boundaries_advisory": self.buckets}
        return create(self.name, unit=self.unit, description=self.description, **advisory)


HTTP_DURATION = Metric(
    "http.server.request.duration",
    "histogram",
    "s",
    "Duration of HTTP server requests.",
    (
        HTTP_REQUEST_METHOD,
        URL_SCHEME,
        PROTOCOL_VERSION,
        HTTP_ROUTE,
        HTTP_RESPONSE_STATUS_CODE,
        ERROR_TYPE,
        RESPONSE_STREAM,
        CLIENT_LEFT,
    ),
    DURATION_BUCKETS,
)
HTTP_ACTIVE = Metric(
    "http.server.active_requests",
    "up_down_counter",
    "{request}",
    "Number of active HTTP server requests.",
    (HTTP_REQUEST_METHOD, URL_SCHEME),
)
DB_OPERATION_DURATION = Metric(
    "db.client.operation.duration",
    "histogram",
    "s",
    "Duration of Elasticsearch calls, retries and waits included.",
    (DB_SYSTEM, DB_OPERATION, DB_COLLECTION, ERROR_TYPE, DB_STATUS_CODE),
    DB_DURATION_BUCKETS,
)
DB_ROWS = Metric(
    "db.client.response.returned_rows",
    "histogram",
    "{row}",
    "Documents that Elasticsearch returned in one answer.",
    (DB_OPERATION, DB_COLLECTION),
    ROWS_BUCKETS,
)
DB_CONNECTIONS = Metric(
    "db.client.connection.count",
    "up_down_counter",
    "{connection}",
    "Connections of the Elasticsearch clients' HTTP pools.",
    (POOL_NAME, POOL_STATE),
)
SEARCH_TOOK = Metric(
    "search.client.took",
    "histogram",
    "s",
    "Time that Elasticsearch itself says a search took.",
    (DB_OPERATION, DB_COLLECTION, QUERY_TYPE),
    DB_DURATION_BUCKETS,
)
SEARCHES = Metric(
    "search.client.searches",
    "counter",
    "{search}",
    "Searches by what came of them: hits, empty, partial, timeout or error.",
    (DB_COLLECTION, OUTCOME),
)
BULK_ITEMS = Metric(
    "search.client.bulk.items",
    "counter",
    "{item}",
    "Items of bulk requests by action, and ok or the type of their error.",
    (DB_COLLECTION, BULK_ACTION, OUTCOME),
)
RETRIES = Metric(
    "search.client.retries",
    "counter",
    "{retry}",
    "Further attempts of Elasticsearch calls.",
    (DB_OPERATION, RETRY_REASON, SERVER_ADDRESS, SERVER_PORT),
)
NODES = Metric(
    "search.client.nodes",
    "up_down_counter",
    "{node}",
    "Nodes of the Elasticsearch clients' node pools.",
    (NODE_STATE,),
)
OPERATION_DURATION = Metric(
    "search.operation.duration",
    "histogram",
    "s",
    "Duration of business operations.",
    (OPERATION_NAME, ERROR_TYPE),
    DURATION_BUCKETS,
)
EVENT_LOOP_LAG = Metric(
    "search.event_loop.lag",
    "histogram",
    "s",
    "How late the event loop came to a timer, twice a second.",
    (),
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
MEMORY_UTILIZATION = Metric(
    "search.memory.utilization",
    "gauge",
    "1",
    "Memory in use of the container's limit, or of the machine's memory where there is none.",
    (LIMIT_SOURCE,),
)
MEMORY_LIMIT = Metric(
    "search.memory.limit",
    "gauge",
    "By",
    "Memory that the container may use, or that the machine has.",
    (LIMIT_SOURCE,),
)
CPU_UTILIZATION = Metric(
    "search.cpu.utilization",
    "gauge",
    "1",
    "Processor time of the process of that which its container may use, or the machine has.",
    (),
)
CPU_LIMIT = Metric(
    "search.cpu.limit",
    "gauge",
    "{cpu}",
    "Processors that the container may use, or that the machine has.",
    (),
)
HEALTH_STATUS = Metric(
    "search.health.status",
    "gauge",
    "1",
    "Health of a component: 0 unhealthy, 1 degraded, 2 healthy.",
    (HEALTH_COMPONENT,),
)
PROCESS_UPTIME = Metric(
    "process.uptime",
    "gauge",
    "s",
    "The time the process has been running.",
    (),
)
ALERTS_FIRING = Metric(
    "search.alerts.firing",
    "gauge",
    "{alert}",
    "Alerts that the service itself finds to be firing, by rule.",
    (ALERT_NAME, ALERT_SEVERITY),
)
ALERT_NOTIFICATIONS = Metric(
    "search.alerts.notifications",
    "counter",
    "{notification}",
    "Mails and webhook calls of alerts by outcome: sent, failed (an attempt) or dropped (given up).",
    (NOTIFICATION_RECEIVER, NOTIFICATION_OUTCOME),
)
TELEMETRY_DROPPED = Metric(
    "search.telemetry.dropped",
    "counter",
    "{item}",
    "Spans, data points, log records and log lines that could not be delivered.",
    ("search.telemetry.signal", "search.telemetry.reason"),
)
TELEMETRY_REDACTED = Metric(
    "search.telemetry.redacted",
    "counter",
    "{value}",
    "Values that were hidden in log lines, log records and spans, by what they were.",
    (REDACTED_KIND,),
)

METRICS = (
    HTTP_DURATION,
    HTTP_ACTIVE,
    DB_OPERATION_DURATION,
    DB_ROWS,
    DB_CONNECTIONS,
    SEARCH_TOOK,
    SEARCHES,
    BULK_ITEMS,
    RETRIES,
    NODES,
    OPERATION_DURATION,
    EVENT_LOOP_LAG,
    MEMORY_UTILIZATION,
    MEMORY_LIMIT,
    CPU_UTILIZATION,
    CPU_LIMIT,
    HEALTH_STATUS,
    PROCESS_UPTIME,
    ALERTS_FIRING,
    ALERT_NOTIFICATIONS,
    TELEMETRY_DROPPED,
    TELEMETRY_REDACTED,
)
