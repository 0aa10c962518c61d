"""Secrets that are known by their looks."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_search.redaction.counting import MARKER, marker
from otel_search.redaction.table import Shape


def hiding(shape: Shape) -> Callable[[str], str]:
    """What hides the secrets of this shape in a text."""
    if shape.check:
        return _CHECKS[shape.check](shape)
    before, after = f"({shape.before})" if shape.before else "", f"({shape.after})" if shape.after else ""
    # Plain where it can be: a pattern that begins with letters is searched for far faster.
    pattern = re.compile(f"{before}{shape.secret}{after}")
    replacement = (r"\1" if before else "") + marker(shape.kind) + (rf"\{1 + bool(before)}" if after else "")
    return lambda text: pattern.sub(replacement, text)


def own(kind: str, pattern: re.Pattern[str]) -> Callable[[str], str]:
    """What hides whatever matches a pattern of the user's own, but for our markers, which it may match as well."""

    def hide(text: str) -> str:
        if "[redacted: " not in text:
            return pattern.sub(lambda _: marker(kind), text)
        parts: list[str] = []
        done = 0
        for found in MARKER.finditer(text):
            parts += pattern.sub(lambda _: marker(kind), text[done : found.start()]), found[0]
            done = found.end()
        return "".join([*parts, pattern.sub(lambda _: marker(kind), text[done:])])

    return hide


def _cards(shape: Shape) -> Callable[[str], str]:
    numbers = re.compile(shape.secret)

    def hide(match: re.Match[str]) -> str:
        text, start, end = match.string, match.start(), match.end()
        before, after = text[start - 1 : start], text[end : end + 2]
        groups = list(_GROUP.finditer(match[0]))
        # Part of a decimal fraction, of an id, of a longer number.
        if before and (before.isalnum() or before in "._"):
            del groups[0]
        if groups and after and (after[0].isalnum() or after[0] == "_" or (after[0] == "." and after[1:].isdigit())):
            del groups[-1]
        parts: list[str] = []
        done = index = 0
        while index < len(groups):
            length = _card_at(groups, index)
            if length:
                parts += match[0][done : groups[index].start()], marker(shape.kind)
                done = groups[index + length - 1].end()
            index += length or 1
        return "".join([*parts, match[0][done:]])

    return lambda text: numbers.sub(hide, text)


_GROUP = re.compile("[0-9]+")
_LENGTHS = range(13, 20)
# Visa, Mastercard, JCB, Discover: 16 digits and Visa also 13 and 19; American Express; Diners Club.
_BRANDS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|(?=[0-9]{16}$)(?:5[1-5]|2[2-7]|35|6011|64[4-9]|65)[0-9]+"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}"
)


def _card_at(groups: list[re.Match[str]], index: int) -> int:
    """How many groups of digits, from this one on, are a card's number; 0 for none."""
    digits = ""
    for length, group in enumerate(groups[index : index + max(_LENGTHS)], 1):
        digits += group[0]
        if len(digits) > max(_LENGTHS):
            return 0
        if len(digits) in _LENGTHS and _BRANDS.fullmatch(digits) and _has_its_check_digit(digits):
            return length
    return 0


def _has_its_check_digit(digits: str) -> bool:
    """Luhn's formula, ISO/IEC 7812-1, annex B."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


_CHECKS: dict[str, Callable[[Shape], Callable[[str], str]]] = {"card": _cards}
