"""ES|QL, SQL and EQL without their literals."""

from __future__ import annotations

import re

# EQL's raw texts (`?"…"`) know no escapes.
_BACKSLASHES = r"""
    | \?\"[^"]*(?:\"|\Z) | \?'[^']*(?:'|\Z)
    | \"(?:\\.|[^"\\])*(?:\"|\\?\Z)
    | '(?:\\.|[^'\\])*(?:'|\\?\Z)
"""
# SQL doubles a quote within a text, and a backslash is a character as any other.
_DOUBLED = r"""
    | \"(?:\"\"|[^"])*(?:\"|\Z)
    | '(?:''|[^'])*(?:'|\Z)
"""
# One pass, first match wins. Comments go, because people write values into them. A literal that is
# not closed runs to the end, and so does a comment within a comment: what cannot be told apart from a
# value counts as one.
_TOKENS = r"""
      /\*(?:(?!/\*|\*/).)*(?:\*/|/\*.*\Z|\Z) | //[^\n]* | --[^\n]*
    | \"{3}.*?(?:\"{3,5}|\Z)
    %s
    | `(?:``|[^`])*(?:`|\Z)
    | (?<![\w.]) \.?\d [\w.]*
    | [^\W\d][\w.]*
"""
_FLAGS = re.VERBOSE | re.DOTALL
_PIPED = re.compile(_TOKENS % _BACKSLASHES, _FLAGS)
_SQL = re.compile(_TOKENS % _DOUBLED, _FLAGS)


def mask_literals(text: str, *, sql: bool = False) -> str:
    """The query with every string and number replaced by `?`, comments removed and white space folded.

    Args:
        text: The query.
        sql: Whether it is SQL, whose texts are quoted in another way than those of ES|QL and EQL.
    """
    return " ".join((_SQL if sql else _PIPED).sub(_mask, text).split())


# Up to the first pipe; a list in square brackets is how the first versions wrote METADATA.
_SOURCE = re.compile(r"\s*(?:FROM|TS)\s+([^|\[]{1,512}?)\s*(?:\bMETADATA\b|[|\[]|\Z)", re.IGNORECASE)
_TABLE = re.compile(r"\bFROM\s+([\w.*:-]{1,256})", re.IGNORECASE)
_INDEX = re.compile(r"[\w.*:<>{}/+-]{1,256}")
_LONGEST_SQL = 4096


def target_of(text: str, *, sql: bool = False) -> str | None:
    """The indices that a query in ES|QL or SQL reads, with commas; `None` if it names none in a plain way.

    Args:
        text: The query.
        sql: Whether it is SQL, whose tables count if they are not quoted.
    """
    if sql:
        table = _TABLE.search(mask_literals(text[:_LONGEST_SQL], sql=True))
        return table and table[1]
    source = _SOURCE.match(text)
    names = [name.strip().strip('"') for name in source[1].split(",")] if source else []
    return ",".join(names) if names and all(map(_INDEX.fullmatch, names)) else None


def _mask(match: re.Match[str]) -> str:
    token = match[0]
    first = token[0]
    if first.isalpha() or first in "_`":
        return token
    if token.startswith(("/*", "//", "--")):
        return " "
    return "?"
