"""Names of metrics and labels as Prometheus has them, from the schema; and those that other programs give their own."""

from __future__ import annotations

from otel_search import semconv
from otel_search.metrics.names import label_name, metric_name
from otel_search.semconv import Metric

SERVICE_LABELS = 'job=~"$service", deployment_environment_name=~"$environment", instance=~"$instance"'
"""What the dashboards' variables select; `job` and `instance` are service.name and service.instance.id."""


def name(metric: Metric, suffix: str = "") -> str:
    """The name of a metric's series.

    Args:
        metric: A metric of the schema.
        suffix: `bucket`, `count` or `sum` of a histogram; a counter gets its `total` by itself.
    """
    base, _ = metric_name(metric.name, metric.unit, metric.instrument)
    suffix = suffix or ("total" if metric.instrument == "counter" else "")
    return f"{base}_{suffix}" if suffix else base


def of(metric: Metric | str, *matchers: str, suffix: str = "") -> str:
    """A selector of a metric's series within the dashboards' variables.

    Args:
        metric: A metric of the schema, or a name that Prometheus has.
        *matchers: Further matchers: `label="value"`.
        suffix: As in `name`.
    """
    series = metric if isinstance(metric, str) else name(metric, suffix)
    return f"{series}{{{', '.join([SERVICE_LABELS, *matchers])}}}"


def label(attribute: str) -> str:
    """The label of an attribute."""
    return label_name(attribute)


def rate(selector: str, by: str = "") -> str:
    """The sum of a counter's rates, for each value of `by` if there is one."""
    return f"sum{f' by ({by}) ' if by else ''}(rate({selector}[$__rate_interval]))"


def quantile(q: float, metric: Metric, *matchers: str, by: str = "") -> str:
    """A quantile of a histogram, for each value of `by` if there is one."""
    buckets = rate(of(metric, *matchers, suffix="bucket"), f"le{f', {by}' if by else ''}")
    return f"histogram_quantile({q:g}, {buckets})"


CODE = label(semconv.HTTP_RESPONSE_STATUS_CODE)
# A request whose client left is nobody's failure, and no success either.
ANSWERED = f'{CODE}!~"499|", {label(semconv.CLIENT_LEFT)}!="true"'
FAILED = f'{CODE}=~"[5-9].."'
# A stream lasts as long as its client likes.
TIMED = f'{ANSWERED}, {label(semconv.RESPONSE_STREAM)}!="true"'


def share(part: str, whole: str) -> str:
    """A part of a whole; 0 where there is a whole and no part of it."""
    return f"({part} or {whole} * 0) / {whole}"


def increase(selector: str, by: str = "") -> str:
    """The sum of what counters counted in the dashboard's time range."""
    return f"sum{f' by ({by}) ' if by else ''}(increase({selector}[$__range]))"
