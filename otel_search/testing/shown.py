"""What was recorded, in words, for the message of a failed assertion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from otel_search.viewer.telemetry import LogRecord, MetricPoint, Span

_LONGEST = 400
_MOST = 40


def spans(found: Sequence[Span]) -> str:
    """Spans, each beneath its parent, in the order of their start."""
    ids = {span.span_id for span in found}
    children: dict[str, list[Span]] = {}
    for span in sorted(found, key=lambda span: span.start):
        children.setdefault(span.parent_span_id if span.parent_span_id in ids else "", []).append(span)
    lines: list[str] = []

    def show(parent: str, depth: int) -> None:
        for span in children.get(parent, ()):
            status = "" if span.status == "UNSET" else f" {span.status}"
            lines.append(f"{'  ' * depth}{span.name}  {span.kind}{status}  {attributes(span.attributes)}".rstrip())
            show(span.span_id, depth + 1)

    show("", 0)
    return _listed("span", lines)


def logs(found: Sequence[LogRecord]) -> str:
    """Log records in the order in which they came."""
    return _listed(
        "log record",
        [
            f"{record.severity.lower()}: {record.body}  ({record.scope})  {attributes(record.attributes)}".rstrip()
            for record in found
        ],
    )


def metrics(found: Sequence[MetricPoint]) -> str:
    """Points by the name of their metric."""
    return _listed(
        "point",
        [
            f"{point.name} = {measured(point)}  {attributes(point.attributes)}".rstrip()
            for point in sorted(found, key=lambda point: point.name)
        ],
    )


def measured(point: MetricPoint) -> str:
    """The value of a point; of a histogram, how many measurements of which sum."""
    value = f"{point.value:g}"
    return value if point.kind in ("gauge", "sum") else f"{point.count} measurements, sum {value}"


def attributes(found: Mapping[str, Any]) -> str:
    """Attributes in one line, long values cut."""
    text = ", ".join(f"{name}={_cut(repr(value), 80)}" for name, value in found.items())
    return _cut(text, _LONGEST)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _listed(what: str, lines: Sequence[str]) -> str:
    if not lines:
        return f"there were no {what}s"
    count = f"there was 1 {what}" if len(lines) == 1 else f"there were {len(lines)} {what}s"
    more = [f"  … and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "\n".join([f"{count}:", *(f"  {line}" for line in lines[:_MOST]), *more])
