"""The configuration of Alertmanager: who is told what, how, and when again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otel_search.alerts.mail import PORTS, Security
from otel_search.alerts.promql import SERVICE, duration
from otel_search.alerts.render import document, renderable
from otel_search.alerts.rules import Rule

FILE = "alertmanager.yaml"

_EVERYBODY = "mail"
_SUBJECT = (
    "[{{ if eq .Status `resolved` }}RESOLVED{{ else }}{{ .CommonLabels.severity | toUpper }}{{ end }}] "
    "{{ .GroupLabels.job }}: {{ .GroupLabels.alertname }}"
    "{{ with .CommonAnnotations.summary }}: {{ . }}{{ end }}"
)
_TEXT = """\
{{ range .Alerts -}}
{{ .Annotations.summary }}

alert:    {{ .Labels.alertname }}
status:   {{ .Status }}
severity: {{ .Labels.severity }}
{{ range .Labels.SortedPairs }}{{ if and (ne .Name "alertname") (ne .Name "severity") }}{{ .Name }}: {{ .Value }}
{{ end }}{{ end -}}
since:    {{ .StartsAt.UTC.Format "2006-01-02T15:04:05Z07:00" }}
{{ if eq .Status "resolved" }}until:    {{ .EndsAt.UTC.Format "2006-01-02T15:04:05Z07:00" }}
{{ end -}}
{{ with .Annotations.runbook_url }}runbook:  {{ . }}
{{ end }}
{{ end }}"""


@dataclass(frozen=True)
class Mail:
    """How Alertmanager sends mails.

    Attributes:
        host: The mail server.
        port: Its port; 0 for the usual one.
        security: As `OTEL_SEARCH_ALERTS_SMTP_SECURITY`.
        username: Who to log in as; empty for nobody.
        password_file: A file with the password, where Alertmanager runs. A password itself is never written down.
        ca_certs: A file with certificate authorities, where Alertmanager runs.
        to: Who gets the mails of rules that name nobody.
    """

    host: str
    port: int = 0
    security: Security = "starttls"
    username: str = ""
    password_file: str = ""
    ca_certs: str = ""
    sender: str = "otel-search@localhost"
    to: tuple[str, ...] = ("alerts@localhost",)


def alertmanager(
    rules: Iterable[Rule], mail: Mail, command: str, *, webhook: str = "", repeat: float = 300.0, wait: float = 10.0
) -> str:
    """The configuration.

    Args:
        rules: The rules; their recipients and what they inhibit count.
        mail: How mails are sent.
        command: What writes it, for its head.
        webhook: Where all alerts are posted, too; empty for nowhere.
        repeat: Seconds after which an alert that goes on is told again.
        wait: Seconds to wait for more alerts of a group before it is told.
    """
    chosen = renderable(rules)
    group = [*SERVICE, "alertname"]
    routes: list[dict[str, Any]] = []
    if webhook:
        routes.append({"receiver": "webhook", "matchers": ['alertname=~".+"'], "continue": True})
    named: dict[tuple[str, ...], list[str]] = {}
    for rule in chosen:
        if rule.recipients:
            named.setdefault(rule.recipients, []).append(rule.name)
    for index, names in enumerate(named.values(), 1):
        routes.append({"receiver": f"mail-{index}", "matchers": [f'alertname=~"{"|".join(names)}"']})
    routes += [
        # What hurts users now is told at once and again and again; the rest may come together and less often.
        {"receiver": _EVERYBODY, "matchers": ['severity="critical"'], "group_wait": duration(min(wait, 5.0))},
        {
            "receiver": _EVERYBODY,
            "matchers": ['severity="info"'],
            "group_wait": duration(wait * 6),
            "repeat_interval": duration(repeat * 12 * 12),
        },
    ]
    content = {
        "global": _global(mail),
        "route": {
            "receiver": _EVERYBODY,
            "group_by": group,
            "group_wait": duration(wait),
            "group_interval": duration(wait),
            "repeat_interval": duration(repeat),
            "routes": routes,
        },
        "inhibit_rules": _inhibitions(chosen),
        "receivers": [
            _receiver(_EVERYBODY, mail.to),
            *(_receiver(f"mail-{index}", recipients) for index, recipients in enumerate(named, 1)),
            *([{"name": "webhook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}] if webhook else []),
        ],
    }
    return document(
        "Alertmanager 0.31: routes by severity, one notification for each alert of a service, mails by SMTP.",
        command,
        content,
    )


def _global(mail: Mail) -> dict[str, Any]:
    content: dict[str, Any] = {
        "resolve_timeout": "5m",
        "smtp_smarthost": f"{mail.host}:{mail.port or PORTS[mail.security]}",
        "smtp_from": mail.sender,
        "smtp_hello": "localhost",
        # With a port of 465 Alertmanager speaks TLS from the beginning, with others it asks for STARTTLS.
        "smtp_require_tls": mail.security == "starttls",
    }
    if mail.security == "tls":
        content["smtp_force_implicit_tls"] = True
    if mail.username:
        content["smtp_auth_username"] = mail.username
        content["smtp_auth_password_file"] = mail.password_file
    if mail.ca_certs:
        content["smtp_tls_config"] = {"ca_file": mail.ca_certs}
    return content


def _receiver(name: str, to: tuple[str, ...]) -> dict[str, Any]:
    config = {
        "to": ", ".join(to),
        "send_resolved": True,
        "headers": {"Subject": _SUBJECT, "Auto-Submitted": "auto-generated"},
        "text": _TEXT,
        "html": "",
    }
    return {"name": name, "email_configs": [config]}


def _inhibitions(rules: Iterable[Rule]) -> list[Mapping[str, Any]]:
    by = {rule.name: rule.by for rule in rules}
    found: list[Mapping[str, Any]] = []
    for rule in rules:
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in rule.inhibits:
            if name in by:
                shared = tuple(label for label in rule.by if label in by[name])
                groups.setdefault(shared, []).append(name)
        found += [
            {
                "source_matchers": [f'alertname="{rule.name}"'],
                "target_matchers": [f'alertname=~"{"|".join(names)}"'],
                "equal": [*SERVICE, *shared],
            }
            for shared, names in groups.items()
        ]
    return found
