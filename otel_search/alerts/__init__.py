"""Alerts: one set of rules with two readers.

A rule is data (`rules`, `catalogue`, and the application's `own`). Prometheus reads it as PromQL
(`render`), with Alertmanager to tell people. Where there is no Prometheus, one worker of the service
reads the same rule over the metrics of all workers (`embedded`), and mails by itself.
"""

from __future__ import annotations

from otel_search.alerts.embedded import EmbeddedAlerts
from otel_search.alerts.own import AlertRule

__all__ = ["AlertRule", "EmbeddedAlerts"]
