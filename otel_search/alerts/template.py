"""Summaries: one text with places for values, filled in here and by Prometheus to the same words.

`{value}` is the alert's value, `{threshold}` what it is compared with, `{service}` whose it is, and
`{some_label}` one of the labels that the rule groups by. A format may follow: `{value:percent}`,
`{value:seconds}`, `{value:count}`. Nothing else is a template: no attributes, no calls.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator, Mapping

_FORMATS: dict[str, tuple[Callable[[float], str], str]] = {
    "": (lambda value: f"{value:.4g}", '{{{{ printf "%.4g" {0} }}}}'),
    "count": (lambda value: f"{value:.0f}", '{{{{ printf "%.0f" {0} }}}}'),
    "percent": (lambda value: f"{value * 100:.4g}%", "{{{{ {0} | humanizePercentage }}}}"),
    "seconds": (lambda value: f"{value:.3g} s", '{{{{ printf "%.3g" {0} }}}} s'),
}
"""Each format in Python, and in the templates of Prometheus."""


def check(template: str, labels: Iterable[str], *, has_threshold: bool, where: str) -> None:
    """Refuse a template that could not be filled in.

    Args:
        template: The text.
        labels: The labels that the alert will have.
        has_threshold: Whether there is a threshold to speak of.
        where: Whose template it is, for the message.

    Raises:
        ValueError: With what is accepted.
    """
    accepted = ["value", *(["threshold"] if has_threshold else []), "service", *labels]
    words = ", ".join(f"{{{name}}}" for name in accepted)
    try:
        parts = list(_parts(template))
    except ValueError as error:
        raise ValueError(f"{where}: the template {template!r} is not accepted: {error}") from error
    for _, name, form in parts:
        if name is not None and name not in accepted:
            raise ValueError(f"{where}: {{{name}}} in the template is not accepted; accepted: {words}")
        if form not in _FORMATS or (form and name not in ("value", "threshold")):
            formats = " | ".join(each for each in _FORMATS if each)
            raise ValueError(f"{where}: the format {form!r} of {{{name}}} is not accepted; accepted: {formats}")


def filled(template: str, *, value: float, threshold: float | None, service: str, labels: Mapping[str, str]) -> str:
    """The text with its values."""
    words = ""
    for literal, name, form in _parts(template):
        words += literal
        if name in ("value", "threshold"):
            number = value if name == "value" else threshold
            words += _FORMATS[form][0](number) if number is not None else ""
        elif name == "service":
            words += service
        elif name is not None:
            words += labels.get(name, "")
    return words


def for_prometheus(template: str, *, threshold: float | None) -> str:
    """The text as an annotation in a rule file."""
    words = ""
    for literal, name, form in _parts(template):
        words += literal.replace("{{", '{{ "{{" }}')
        if name == "value":
            words += _FORMATS[form][1].format("$value")
        elif name == "threshold":
            words += _FORMATS[form][0](threshold) if threshold is not None else ""
        elif name is not None:
            words += f"{{{{ $labels.{'job' if name == 'service' else name} }}}}"
    return words


def _parts(template: str) -> Iterator[tuple[str, str | None, str]]:
    for literal, name, form, conversion in string.Formatter().parse(template):
        if conversion is not None:
            raise ValueError(f"!{conversion} is no format")
        yield literal, name, form or ""
