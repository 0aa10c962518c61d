"""ES|QL, SQL and EQL without their literals."""

from __future__ import annotations

import re

# One pass, first match wins. Comments go, because people write values into them. A literal that is
# not closed runs to the end: what cannot be told apart from a value counts as one.
_LITERALS = re.compile(
    r"""
      /\*.*?(?:\*/|\Z) | //[^\n]* | --[^\n]*
    | \"{3}.*?(?:\"{3}|\Z)
    | \"(?:\\.|[^"\\])*(?:\"|\Z)
    | '(?:''|\\.|[^'\\])*(?:'|\Z)
    | `(?:``|[^`])*(?:`|\Z)
    | \#\d+
    | (?<![\w.]) \d [\w.]*
    | [A-Za-z_][\w.]*
    """,
    re.VERBOSE | re.DOTALL,
)


def mask_literals(text: str) -> str:
    """The query with every string and number replaced by `?`, comments removed and white space folded."""
    return " ".join(_LITERALS.sub(_mask, text).split())


def _mask(match: re.Match[str]) -> str:
    token = match[0]
    first = token[0]
    if first.isalpha() or first in "_`":
        return token
    if token.startswith(("/*", "//", "--")):
        return " "
    return "?"
