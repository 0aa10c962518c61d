"""How pages are made: templates that escape everything, words for numbers, and the headers of each answer."""

from __future__ import annotations

import datetime as dt
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import jinja2
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

HEADERS = {
    # No script but our own files, no style but our own sheets, nothing from elsewhere: what a span says
    # is text even if an escape were forgotten.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

DASH = "\N{EN DASH}"
"""Stands where there is no number."""

_LONGEST_SHOWN = 4_000
_UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3))
_FACTORS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


def duration(nanoseconds: float | None) -> str:
    """A duration for people: three digits and a unit."""
    if nanoseconds is None:
        return DASH
    if nanoseconds >= 60e9:
        minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
        return f"{minutes} min {seconds} s"
    for unit, factor in _UNITS:
        if nanoseconds >= factor:
            return f"{_three_digits(nanoseconds / factor)} {unit}"
    return f"{nanoseconds:.0f} ns" if nanoseconds else "0 ms"


def seconds(value: float | None) -> str:
    """As `duration`, of seconds."""
    return duration(None if value is None else value * 1e9)


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def quantity(value: float | None, unit: str = "") -> str:
    """A number in its unit (UCUM), for people."""
    if value is None or not math.isfinite(value):
        return DASH
    if unit == "s":
        return seconds(value) if value > 0 else "0 s"
    if unit == "ns":
        return duration(value) if value > 0 else "0 s"
    if unit == "ms":
        return seconds(value / 1e3) if value > 0 else "0 s"
    if unit == "1":
        return f"{value * 100:.3g} %" if 0 < abs(value) <= 1 else f"{value:g}"
    if unit in ("By", "By/s"):
        size, names = abs(value), ("B", "KiB", "MiB", "GiB", "TiB")
        power = min(int(math.log(size, 1024)), 4) if size >= 1 else 0
        return f"{value / 1024**power:.3g} {names[power]}{unit[2:]}"
    words = unit.strip("{}").replace("}", "")
    for letter, factor in _FACTORS:
        if abs(value) >= factor * 10:
            return f"{value / factor:.3g} {letter} {words}".strip()
    text = f"{value:.0f}" if value == round(value) else f"{value:.3g}"
    return f"{text} {words}".strip()


def percent(part: float | None, whole: float | None) -> str:
    """A share in percent; a dash for a share of nothing."""
    if not whole or part is None:
        return DASH
    share = part / whole * 100
    return "0 %" if share == 0 else "100 %" if share == 100 else f"{share:.1f} %" if share < 99.95 else "99.9 %"


def count(value: float | None) -> str:
    """A number with thin spaces between thousands."""
    return DASH if value is None else f"{value:,.0f}".replace(",", "\u2009")


def clock(nanoseconds: int) -> str:
    """The time of day, in the machine's own zone, with milliseconds."""
    moment = moment_of(nanoseconds)
    return DASH if moment is None else f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def day_and_clock(nanoseconds: int) -> str:
    """The date and the time of day, in the machine's own zone."""
    moment = moment_of(nanoseconds)
    return DASH if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def iso(nanoseconds: int) -> str:
    """For the `datetime` of a time element."""
    moment = moment_of(nanoseconds)
    return "" if moment is None else moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def moment_of(nanoseconds: int) -> dt.datetime | None:
    """The moment of a time, in the machine's own zone; `None` for one that no calendar has."""
    try:
        return dt.datetime.fromtimestamp(nanoseconds / 1e9, dt.UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def pretty(text: str) -> str:
    """JSON over many lines, and lines of JSON (bulk, msearch) each by itself; other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def shown(value: Any) -> str:
    """An attribute's value as text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[:_LONGEST_SHOWN]} … (cut, {len(text)} characters)"


def as_curl(method: str, url: str, body: str) -> str:
    """The command line that makes this call again."""
    words = ["curl", "-X", method or "GET", url]
    if body:
        content_type = "application/x-ndjson" if "\n" in body.strip() else "application/json"
        words += ["-H", f"content-type: {content_type}", "--data-binary", body]
    return shlex.join(words)


def as_console(method: str, url: str, body: str) -> str:
    """The same for the console of Kibana's Dev Tools."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    return f"{method or 'GET'} {target}\n{pretty(body)}".rstrip()


def query_string(parameters: Mapping[str, Any], **changes: Any) -> str:
    """A URL's query with some parameters changed; empty ones are left out."""
    merged = {**parameters, **changes}
    return urlencode({name: value for name, value in merged.items() if value not in (None, "")})


def chart(
    identifier: str,
    times: Sequence[float],
    lines: Sequence[tuple[str, Sequence[float | None], str]],
    unit: str,
    *,
    points: Sequence[Mapping[str, Any]] = (),
    fill: bool = False,
) -> dict[str, Any]:
    """A chart as its script wants it.

    Args:
        identifier: Of its element.
        times: Seconds since the epoch.
        lines: Label, values, and the name of a colour, of each line.
        unit: Of the values.
        points: Exemplars: `time` in seconds, `value`, and the `url` of their trace.
        fill: Whether the area beneath the lines is tinted.
    """
    return {
        "id": identifier,
        "unit": unit,
        "fill": fill,
        "times": list(times),
        "lines": [{"label": label, "values": list(values), "color": color} for label, values, color in lines],
        "points": list(points),
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("otel_search.viewer.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "clock": clock,
        "count": count,
        "day_and_clock": day_and_clock,
        "duration": duration,
        "iso": iso,
        "json_text": json.dumps,
        "pretty": pretty,
        "quantity": quantity,
        "seconds": seconds,
        "shown": shown,
    }
    environment.globals |= {"percent": percent, "query_string": query_string}
    return environment


TEMPLATES = _environment()


def render(request: Request, template: str, status_code: int = 200, **context: Any) -> Response:
    """Answer with a template."""
    context |= {"request": request, "store": request.app.state.store, "path": request.url.path}
    return HTMLResponse(TEMPLATES.get_template(template).render(context), status_code)
