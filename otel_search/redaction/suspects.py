"""What the Collector looks at before it redacts: conditions that are quick to refute, from the same table.

Go's regular expressions take their time with every character unless they begin with a text that is there seldom, and the
rules of the Collector begin with "any word, in any case". So all texts of a span or record are put together once, in lower
case, too, and looked through for words and for patterns that begin with one. Where none is found no rule can match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from otel_search.redaction.table import KEPT, Key, Shape

MARK = "otel_search.suspect"
"""The attribute of what is to be redacted, between two pipelines of one Collector."""

# Between a name and `:` or `=`, in JSON: quotes, brackets and white space.
_GAP = r"""(?:["'\]\s]|\\(?:[nrtfb]|u00[01][0-9a-f])?)*"""
# Behind a name in a text, as the name of an attribute, and in a tuple.
_BESIDE = rf"""(?:{_GAP}[:=]|\]?\\?["'][,\]])"""


@dataclass(frozen=True)
class Term:
    """One of the words or patterns of a condition.

    Attributes:
        text: Where to look: in the `values` as they are, or in names and values in `lower` case.
        literals: Words, of which one has to be there.
        patterns: Regular expressions of RE2, which all have to match the values, or the lower case where there are no literals.
    """

    text: str
    literals: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


def terms(keys: Iterable[Key], shapes: Iterable[Shape]) -> list[Term]:
    """Return what to look for: where a rule of the Collector matches one of these is there, JSON or not."""
    keys = list(keys)
    names = _shortest({name for row in keys for name in (*row.names, *row.endings)})
    found = [Term("lower", patterns=(rf"{_pattern(name)}{_BESIDE}",)) for name in names]
    found.append(Term("lower", patterns=(rf"--[a-z0-9_.\[-]*(?:{'|'.join(map(_pattern, names))}) ",)))
    found += [Term("values", literals=(f"{name}=",)) for row in keys for name in row.in_urls]
    # Folded, `s` is this, too, but this in lower case is not `s`.
    found.append(Term("lower", literals=("\u017f",)))
    for row in shapes:
        patterns = [_wider(f"{row.before}{row.re2 or row.secret}{row.after}")]
        if row.check:  # rather many digits, and quick to say no
            patterns.insert(0, _wider(row.secret))
        found.append(Term("lower" if row.any_case else "values", row.guards, tuple(patterns)))
    return found


def holds(term: Term, values: str, lower: str) -> bool:
    """Say of texts what the Collector would; for tests."""
    text = lower if term.text == "lower" else values
    if term.literals and not any(word in text for word in term.literals):
        return False
    return all(re.search(pattern, values if term.literals else text) for pattern in term.patterns)


def statements(
    context: str, texts: tuple[str, ...], marked: str, keys: list[Key], shapes: list[Shape]
) -> Iterator[str]:
    """Yield OTTL that marks what is suspect, or could not be looked at.

    Args:
        context: OTTL's context, which has `attributes` and a cache.
        texts: Further paths with texts.
        marked: Whose attribute the mark is: of the context, or of what it is part of.
        keys: The rows of names that count.
        shapes: The rows of looks that count.
    """
    cache = f"{context}.cache"
    values = ", ".join((f"String(Values({context}.attributes))", *texts))
    body = "log.body"
    # A number or bytes as a body are rare, and written otherwise in OTTL.
    condition = f" where {body} == nil or IsString({body}) or IsMap({body}) or IsList({body})" if body in texts else ""
    yield f'set({cache}["names"], String(Keys({context}.attributes)))'
    for name in KEPT:
        yield f'replace_pattern({cache}["names"], {ottl(_quoted(name))}, "")'
    yield f'set({cache}["values"], Concat([{values}], "\\n")){condition}'
    yield f'set({cache}["lower"], ToLowerCase(Concat([{cache}["names"], {cache}["values"]], "\\n")))'
    looked = "\nor ".join(_condition(term, cache) for term in terms(keys, shapes))
    yield f'set({cache}["clean"], true) where {cache}["names"] != nil and {cache}["values"] != nil and not (\n{looked}\n)'
    yield f'set({marked}.attributes["{MARK}"], true) where {cache}["clean"] == nil'


def ottl(text: str) -> str:
    """Return a text as OTTL's literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _condition(term: Term, cache: str) -> str:
    words = " or ".join(f'Index({cache}["{term.text}"], {ottl(word)}) >= 0' for word in term.literals)
    text = "values" if term.literals else term.text
    matches = [f'IsMatch({cache}["{text}"], {ottl(pattern)})' for pattern in term.patterns]
    return f"({' and '.join([f'({words})', *matches] if words else matches)})"


def _shortest(names: set[str]) -> list[str]:
    """Return the names without those that end with another: it is found there, too."""
    return sorted(
        name for name in names if not any(other != name and re.search(rf"{_pattern(other)}\Z", name) for other in names)
    )


def _pattern(name: str) -> str:
    return name.replace("_", "[-_. ]?")


def _quoted(name: str) -> str:
    return f'"{re.escape(name)}"'


def _wider(pattern: str) -> str:
    """Return a pattern that matches where the given one does, and in JSON, where an escape is longer and ends with a letter."""
    return re.sub(r"\{(\d+),\d+\}", r"{\1,}", re.sub(r"(?<=[*+}])\+", "", pattern.replace(r"\b", "")))
