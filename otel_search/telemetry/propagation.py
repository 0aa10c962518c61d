"""No propagation, without harm: `OTEL_PROPAGATORS=none`, or a configuration file that names none.

OpenTelemetry's API then hands out no context at all where FastAPI's own telemetry expects one, and
each request would be answered with 500.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import context, propagate
from opentelemetry.propagators.textmap import TextMapPropagator


class NoPropagation(TextMapPropagator):
    """Reads nothing from a request and writes nothing into one."""

    def extract(self, carrier: Any, context: context.Context | None = None, getter: Any = None) -> context.Context:  # noqa: ARG002
        """The context as it is."""
        return _current() if context is None else context

    def inject(self, carrier: Any, context: context.Context | None = None, setter: Any = None) -> None:
        """Nothing to do."""

    @property
    def fields(self) -> set[str]:
        """None."""
        return set()


def _current() -> context.Context:
    return context.get_current()


def give_a_context_always() -> None:
    """Replace the global propagator if it hands out no context."""
    if propagate.extract({}) is None:
        propagate.set_global_textmap(NoPropagation())
