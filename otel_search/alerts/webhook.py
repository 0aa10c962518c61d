"""Webhooks in the format of Alertmanager's, version 4: what reads those reads ours."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from otel_search.alerts.mail import DeliveryError
from otel_search.alerts.states import Notification

RECEIVER = "otel-search"
_NEVER = "0001-01-01T00:00:00Z"


def payload(notification: Notification, service: str) -> dict[str, Any]:
    """What is posted.

    Args:
        notification: What to tell.
        service: Whose alert it is.
    """
    labels = {
        "alertname": notification.rule,
        "severity": notification.severity,
        "job": service,
        **notification.labels,
    }
    annotations = {
        "summary": notification.summary,
        **({"runbook_url": notification.runbook} if notification.runbook else {}),
        **({"trace_id": notification.trace} if notification.trace else {}),
    }
    group = {"alertname": notification.rule, "job": service}
    ended = notification.status == "resolved"
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{', '.join(f'{name}={value!r}' for name, value in group.items())}}}",
        "truncatedAlerts": 0,
        "status": notification.status,
        "receiver": RECEIVER,
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [
            {
                "status": notification.status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _time(notification.started),
                "endsAt": _time(notification.ended) if ended else _NEVER,
                "generatorURL": "",
                "fingerprint": notification.fingerprint,
            }
        ],
    }


def post(url: str, content: Mapping[str, Any], timeout: float) -> None:
    """Post a notification; to be called in a thread of its own.

    Args:
        url: With http or https.
        content: A result of `payload`.
        timeout: Seconds for connecting, and for each wait.

    Raises:
        DeliveryError: It was not taken.
    """
    headers = {"content-type": "application/json", "user-agent": "otel-search"}
    request = urllib.request.Request(url, orjson.dumps(content), headers)  # noqa: S310 - its scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            response.read(1)
    except urllib.error.HTTPError as error:
        error.close()
        # As Alertmanager does: the server's own trouble passes, a refused request stays refused.
        raise DeliveryError(
            f"the webhook answers {error.code}", permanent=error.code < 500 and error.code != 429
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"the webhook does not answer: {reason}") from error


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
