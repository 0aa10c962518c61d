"""The same table as a configuration of the OpenTelemetry Collector: `python -m otel_search.redaction.collector`.

Go's regular expressions (RE2) look neither ahead nor behind. Where a row needs that, its pattern here
is the nearest that hides more.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from otel_search.redaction import suspects
from otel_search.redaction.counting import marker
from otel_search.redaction.table import KEPT, KEYS, SHAPES, Key

_HEADER = """\
# Secrets, a second time: the rules of the service for whatever else sends to this Collector.
#
# Generated from otel_search/redaction/table.py, do not edit:
#
#   python -m otel_search.redaction.collector > collector/redaction.yaml
#
# Put these two into a pipeline, in this order, behind memory_limiter:
#
#   processors: [memory_limiter, transform/secrets, redaction/secrets]
#
# They cost much, and nearly nothing that passes has a secret. So collector.yaml lets through it only what
# transform/suspects has marked (the attribute {mark} of a span, a record or a whole resource, which
# transform/secrets takes away): where it marks nothing the two would find nothing.
#
# transform/suspects marks what has a word, or a pattern that begins with a word, without which no rule matches,
#                    and what it cannot look at.
# transform/secrets  writes `[redacted: <kind>]` into texts: attributes of spans, span events, log records and
#                    resources, names of spans and events, status messages, trace states, bodies of log records.
# redaction/secrets  hides the values of attributes by their names, at any depth of a log record's body, and
#                    what looks like a secret there, in numbers and in lists. It can say `****` alone, and
#                    leaves alone what is hidden already.
#
# RE2 looks neither ahead nor behind and computes nothing. So these hide more than the service does:
{more}
#   - what stands beside a name in a text: in a sentence, too (`unexpected token: x`), and in a part of a
#     word (`bytoken=x`).
# And less is hidden of: percent-encoded names and values (`%74oken=x`), values with quotes of their own, and what is
# known as a secret in a list or mapping alone (`cookies={{...}}`).
# No processor of the Collector can look at the attributes and trace states of span links, nor at the attributes
# of exemplars: they pass as they are.
# OTEL_SEARCH_REDACT_KEYS, _PATTERNS, _KEEP and personal data are the service's alone.
"""

# What each context has besides attributes, and whose attribute marks it.
_SUSPECTS: dict[str, dict[str, tuple[tuple[str, ...], str]]] = {
    "trace_statements": {
        "resource": ((), "resource"),
        "scope": ((), "resource"),
        "span": (("span.name", "span.status.message", "span.trace_state"), "span"),
        "spanevent": (("spanevent.name",), "span"),
    },
    "metric_statements": {
        "resource": ((), "resource"),
        "scope": ((), "resource"),
        "datapoint": ((), "resource"),
    },
    "log_statements": {
        "resource": ((), "resource"),
        "scope": ((), "resource"),
        "log": (("log.body", "log.event_name"), "log"),
    },
}

_PATHS: dict[str, dict[str, tuple[str, ...]]] = {
    "trace_statements": {
        "resource": ("resource.attributes",),
        "span": ("span.attributes", "span.name", "span.status.message"),
        "spanevent": ("spanevent.attributes",),
    },
    "metric_statements": {"resource": ()},
    "log_statements": {
        "resource": ("resource.attributes",),
        "log": ("log.attributes", "log.body"),
    },
}

# Paths that seldom have anything to hide, each with the condition under which it is looked at.
_RARE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "trace_statements": (
        ("span", "span.trace_state", 'span.trace_state != ""'),
        ("spanevent", "spanevent.name", 'spanevent.name != "exception"'),
    ),
    "metric_statements": (),
    "log_statements": (("log", "log.event_name", 'log.event_name != ""'),),
}

# In their values commas and spaces are nothing special.
_WHOLE_LINES = frozenset({"authorization", "cookie"})

# `redaction/secrets` would replace a marker by less.
_NOT_HIDDEN_YET = r"""(?:[^"'\\\[]|\\[^"'])(?:[^"'\\]|\\[^"'])*"""

_KEYS = [row for row in KEYS if not row.personal]
_SHAPES = [row for row in SHAPES if not row.personal]


def configuration() -> str:
    """The Collector's processors `transform/suspects`, `transform/secrets` and `redaction/secrets`, as YAML."""
    every = replacements()
    lines = [_HEADER.format(more="\n".join(_hides_more()), mark=suspects.MARK), "processors:"]
    lines += ["  transform/suspects:", "    error_mode: silent"]  # what cannot be looked at is marked
    for signal, looked_at in _SUSPECTS.items():
        lines.append(f"    {signal}:")
        for context, (texts, marked) in looked_at.items():
            lines += [f"      - context: {context}", "        statements:"]
            lines += [
                f"          - {_block(statement)}"
                for statement in suspects.statements(context, texts, marked, _KEYS, _SHAPES)
            ]
    lines += ["", "  transform/secrets:", "    error_mode: ignore"]  # what is no text is no error
    for signal, contexts in _PATHS.items():
        lines.append(f"    {signal}:")
        for context, paths in contexts.items():
            lines += [f"      - context: {context}", "        statements:"]
            if context in ("resource", "span", "log"):
                lines.append(f"          - {_yaml(_unmark(context))}")
            lines += [
                f"          - {_yaml(_statement(path, pattern, replacement))}"
                for path in paths
                for pattern, replacement in every
            ]
        for context, path, condition in _RARE[signal]:
            lines += [f"      - context: {context}", "        conditions:", f"          - {_yaml(condition)}"]
            lines.append("        statements:")
            lines += [f"          - {_yaml(_statement(path, pattern, replacement))}" for pattern, replacement in every]
    lines += [
        "",
        "  redaction/secrets:",
        "    allow_all_keys: true",
        "    redact_all_types: true",
        "    summary: silent",
    ]
    lines += _list("ignored_keys", KEPT)
    lines += _list("allowed_values", [r'^\[?"?\[redacted: [^\]]+\]"?\]?$'])
    lines += _list("blocked_key_patterns", (_attribute(row) for row in _KEYS if row.names))
    lines += _list("blocked_values", (pattern for pattern, _ in [*_by_shape(), *_by_name(_NOT_HIDDEN_YET)]))
    return "\n".join(lines) + "\n"


def replacements() -> list[tuple[str, str]]:
    """Patterns for RE2, each with what takes the place of what it matches."""
    return [*_by_shape(), *_by_name()]


def _hides_more() -> Iterator[str]:
    for shape in _SHAPES:
        if shape.re2:
            yield f"#   - {shape.name}: {'whatever its check digit' if shape.check else 'within a longer word, too'}."


def _by_shape() -> Iterator[tuple[str, str]]:
    for shape in _SHAPES:
        before, after = f"({shape.before})" if shape.before else "", f"({shape.after})" if shape.after else ""
        replacement = ("$1" if before else "") + marker(shape.kind) + (f"${1 + bool(before)}" if after else "")
        yield f"{before}{shape.re2 or _re2(shape.secret)}{after}", replacement


def _by_name(quoted: str = r"""(?:[^"'\\]|\\[^"'])+""") -> Iterator[tuple[str, str]]:
    for row in _KEYS:
        kept = f"$1{marker(row.kind)}"
        if row.in_urls:
            yield rf"""([?&#](?:{_either(row.in_urls)})=)[^&;#\s"'<>,)}}\[][^&;#\s"'<>,)}}]*""", kept
        if row.names:
            name = _name(row)
            yield rf"""(?i)({name}["'\\\]]*\s*[:=]\s*b?\\*["']|[(\[]b?["']{name}["'],\s*b?["']){quoted}""", kept
            # A list or tuple, as `api_key=("id", "key")`.
            yield rf"""(?i)({name}["'\\\]]*\s*[:=]\s*)[(\[]\s*b?\\*["'][^?"')\]][^)\]]*[)\]]?""", kept
            rest = r"""[^"'\[\s,][^"'\r\n,]*""" if row.kind in _WHOLE_LINES else r"""[^"'&;,\s\[{(\\][^"'&;,\s]*"""
            yield rf"""(?i)({name}["'\]]*\s*[:=]\s*|--{name} +){rest}""", kept


def _name(row: Key) -> str:
    """The names of a row in a text, which begin where a word does, or end one."""
    endings = rf"|[A-Za-z0-9_.\[-]*(?:{_either(row.endings)})" if row.endings else ""
    return rf"(?:\b(?:{_either(row.names)}){endings})"


def _attribute(row: Key) -> str:
    """The names of a row as the name of an attribute, or its last part."""
    names = rf"(?:^|[.\[])(?:{_either(row.names)})" if row.names else ""
    endings = rf"(?:{_either(row.endings)})" if row.endings else ""
    return rf"(?i)(?:{'|'.join(filter(None, (names, endings)))})\]?$"


def _either(names: Iterable[str]) -> str:
    return "|".join(name.replace("_", "[-_. ]?") for name in sorted(names, key=len, reverse=True))


def _re2(pattern: str) -> str:
    """A pattern in RE2, which never goes back, and so has no word for it."""
    return re.sub(r"(?<=[*+}])\+", "", pattern)


def _statement(path: str, pattern: str, replacement: str) -> str:
    if path.endswith("attributes"):
        return f'replace_all_patterns({path}, "value", {suspects.ottl(pattern)}, {suspects.ottl(replacement)})'
    condition = f" where IsString({path})" if path == "log.body" else ""
    return f"replace_pattern({path}, {suspects.ottl(pattern)}, {suspects.ottl(replacement)}){condition}"


def _unmark(context: str) -> str:
    return f'delete_key({context}.attributes, "{suspects.MARK}")'


def _yaml(text: str) -> str:
    """A scalar; the Collector replaces `$` with variables unless there are two."""
    return "'" + text.replace("'", "''").replace("$", "$$") + "'"


def _block(text: str) -> str:
    """A scalar with a line of its own for each line of the text, which are one for who reads it."""
    if "\n" not in text:
        return _yaml(text)
    return ">-\n" + "\n".join(f"            {line}" for line in text.replace("$", "$$").splitlines())


def _list(name: str, items: Iterable[str]) -> list[str]:
    return [f"    {name}:", *(f"      - {_yaml(item)}" for item in items)]


if __name__ == "__main__":
    sys.stdout.write(configuration())
