"""Secrets that stand beside their names in a text: `name=x`, `"name": "x"`, `Name: x`, `--name x`."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_search.redaction.counting import MARKER, marker
from otel_search.redaction.names import Names

# Each of these is tried at the beginning of a name only and takes back nothing, so that the time is
# linear in the length of a hostile text.
_NAME = r"A-Za-z0-9_.%\[\]-"
_ASSIGNED = re.compile(rf"""(?<![{_NAME}])([{_NAME}]++)([ \t]*+=[ \t]*+)""")
_QUOTED = re.compile(r"""(?<!\\)(\\*+)(["'])([\w.\[\]$ -]{1,128}+)\1\2\s*+([:=,])\s*+""")
_HEADER = re.compile(r"(?<![\w.-])([A-Za-z][\w-]{2,127}+)[ \t]*+:[ \t]*+", re.ASCII)
_OPTION = re.compile(r"(?<![\w-])--([A-Za-z][\w-]{1,127}+) ++(?!-)", re.ASCII)

_QUOTE = re.compile(r"""[bB]?(\\*+)(["'])""")
_ASSIGNED_VALUE = re.compile(r"""[^&;#\s"'<>,)}]++""")
_ENCODED_VALUE = re.compile(r"""[^?&;#\s"'<>,)}%]*+%[^?&;#\s"'<>,)}]++""")
_BARE_VALUE = re.compile(r"""(?!(?:null|true|false|None|True|False)\b)[^\s,}\]){(\["'\\]++""")
_REST_OF_LINE = re.compile(r"(?!//)[^\r\n,]++")
_WORD = re.compile(r"""[^\s"']++""")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_BRACKET_OR_QUOTE = re.compile(r"""\\.|[()\[\]{}"']""", re.DOTALL)
_WITH_A_QUOTE = re.compile(r"""[(\[]\s*+[bB]?["']""")
# What stands for a value where the values were taken out: nothing, `?`, stars.
_NO_VALUE = re.compile(r"[?*]*")
# And in brackets, as in queries without their values: one of these is a value.
_A_VALUE = re.compile(r"""[:=\[(]\s*+(?:[bB]?\\*+["'](?![?…\\"'])|[^\s"'\[({\])}?…\\])""")

# After these words, and after compounds that name a secret, a colon is a header's or a form's, and
# not a sentence's ("unexpected token: ...").
_HEADERS = frozenset({"apikey", "authorization", "cookie", "passphrase", "passwd", "password", "pwd"})

Span = tuple[int, int]
"""Where the value begins and ends that is to be hidden."""


def assigned(text: str, names: Names, kind_inside: Callable[[str], str | None] | None) -> str:
    """A text with the values in `name=value` hidden.

    Args:
        text: Any text.
        names: Decides by the names.
        kind_inside: What kind of secret is inside of a percent-encoded value, if one is to look there.
    """

    def found(match: re.Match[str]) -> tuple[str, Span] | None:
        if match[2] != "=":
            # In source code, SQL and configuration: what stands in quotes there is a value.
            kind = names.field(match[1])
            span = kind and (_quoted_value(text, match.end()) or _quoted_values(text, match.end()))
            return (kind, span) if kind and span else None
        in_url = text[match.start() - 1 : match.start()] in ("?", "&", "#") and match.start() > 0
        kind = names.parameter(match[1]) if in_url else names.field(match[1])
        if kind is not None:
            span = (
                _quoted_value(text, match.end())
                or _bracketed_value(text, match.end())
                or _value(_ASSIGNED_VALUE, text, match.end())
            )
            return span and (kind, span)
        kind = names.many(match[1])
        span = kind and _bracketed_value(text, match.end())
        if kind and span:
            return kind, span
        # What is not a secret may hold one: in plain text that is the next pair's business.
        if kind_inside is None or not in_url:
            return None
        span = _value(_ENCODED_VALUE, text, match.end())
        kind = span and kind_inside(text[span[0] : span[1]])
        return (kind, span) if span and kind else None

    return _hide(text, _ASSIGNED, found)


def quoted(text: str, names: Names) -> str:
    """A text with the values of quoted names hidden, as in JSON, in a `repr` and in a JSON text within a text."""

    def found(match: re.Match[str]) -> tuple[str, Span] | None:
        kind = names.field(match[3])
        if kind is None:
            kind = names.many(match[3])
            span = _bracketed_value(text, match.end()) if kind and match[4] != "," else None
            return (kind, span) if kind and span else None
        if match[4] == ",":  # (b'cookie', b'x'), as frameworks hold headers
            before = text[max(0, match.start() - 2) : match.start()].removesuffix("b")
            span = _quoted_value(text, match.end()) if before.endswith(("(", "[")) else None
        else:
            span = (
                _quoted_value(text, match.end())
                or _bracketed_value(text, match.end())
                or _value(_BARE_VALUE, text, match.end())
            )
        return span and (kind, span)

    return _hide(text, _QUOTED, found)


def headers(text: str, names: Names) -> str:
    """A text with the values of headers and of `password: x` hidden, up to a comma or the end of the line."""

    def found(match: re.Match[str]) -> tuple[str, Span] | None:
        name = match[1]
        if not ("-" in name or "_" in name or name.lower() in _HEADERS or names.is_own(name)):
            return None
        kind = names.field(name)
        if kind is None or text.startswith(("[", "{", "("), match.end()):
            return None
        span = _quoted_value(text, match.end()) or _value(_REST_OF_LINE, text, match.end())
        return span and (kind, span)

    return _hide(text, _HEADER, found)


def options(text: str, names: Names) -> str:
    """A text with the values of a command line's options hidden, `--name value`."""

    def found(match: re.Match[str]) -> tuple[str, Span] | None:
        kind = names.field(match[1])
        span = kind and (_quoted_value(text, match.end()) or _value(_WORD, text, match.end()))
        return (kind, span) if kind and span else None

    return _hide(text, _OPTION, found)


def _hide(text: str, names: re.Pattern[str], found: Callable[[re.Match[str]], tuple[str, Span] | None]) -> str:
    parts: list[str] = []
    done = position = 0
    while match := names.search(text, position):
        position = match.end()
        if marked := MARKER.match(text, position):
            position = marked.end()
            continue
        hidden = found(match)
        if hidden is None:
            continue
        kind, (start, end) = hidden
        if _is_value(text, start, end):
            parts += text[done:start], marker(kind)
            done = end
        position = max(position, end)
    return "".join([*parts, text[done:]]) if parts else text


def _is_value(text: str, start: int, end: int) -> bool:
    if text[start : start + 1] in _BRACKETS:
        return _A_VALUE.search(text, start, end) is not None and not MARKER.fullmatch(text, start, end)
    return not _NO_VALUE.fullmatch(text, start, end) and not MARKER.fullmatch(text, start, end)


def _value(pattern: re.Pattern[str], text: str, position: int) -> Span | None:
    match = pattern.match(text, position)
    return match and match.span()


def _quoted_value(text: str, position: int) -> Span | None:
    """What stands in quotes, which may be escaped as they are in a text within a text; without an end, all the rest."""
    opening = _QUOTE.match(text, position)
    if opening is None:
        return None
    depth, quote = len(opening[1]), opening[2]
    end = opening.end()
    while (end := text.find(quote, end)) >= 0:
        escapes = end
        while escapes > opening.end() and text[escapes - 1] == "\\":
            escapes -= 1
        # In a text that was escaped once, `\"` ends what `\"` began, and `\\\"` does not.
        if end - escapes <= depth or (depth == 0 and (end - escapes) % 2 == 0):
            return opening.end(), max(opening.end(), end - min(depth, end - escapes))
        end += 1
    return opening.end(), len(text)


def _quoted_values(text: str, position: int) -> Span | None:
    """A list or tuple that begins with a text in quotes."""
    return _bracketed_value(text, position) if _WITH_A_QUOTE.match(text, position) else None


def _bracketed_value(text: str, position: int) -> Span | None:
    """A list, tuple or dictionary, with its brackets; without an end, all the rest."""
    if text[position : position + 1] not in _BRACKETS:
        return None
    expected: list[str] = []
    end = position
    while found := _BRACKET_OR_QUOTE.search(text, end):
        sign, end = found[0], found.end()
        if sign in ("'", '"'):
            closing = _quoted_value(text, end - 1)
            end = closing[1] + 1 if closing is not None else len(text)
        elif sign in _BRACKETS:
            expected.append(_BRACKETS[sign])
        elif sign == expected[-1]:
            expected.pop()
            if not expected:
                return position, end
        elif sign in ")]}":  # of another text, in which this one is a part
            return position, found.start()
    return position, len(text)
