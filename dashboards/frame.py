"""What all dashboards have in common: their variables, their links to each other, their form as JSON."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.names import name
from dashboards.panels import DATASOURCE
from otel_search import semconv

TAG = "otel-search"


def frame(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """A dashboard without panels.

    Args:
        uid: Also the name of its file.
        title: As it is listed.
        description: What it answers.
    """
    links = models.DashboardLink(
        title="Dashboards",
        type_val=models.DashboardLinkType.DASHBOARDS,
        icon="external link",
        tags=[TAG],
        as_dropdown=True,
        include_vars=True,
        keep_time=True,
    )
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .links([_Built(links)])
    )
    requests = name(semconv.HTTP_DURATION, "count")
    here = 'job=~"$service", deployment_environment_name=~"$environment"'
    made = made.with_variable(_variable("environment", f"label_values({requests}, deployment_environment_name)"))
    made = made.with_variable(
        _variable("service", f'label_values({requests}{{deployment_environment_name=~"$environment"}}, job)')
    )
    return made.with_variable(_variable("instance", f"label_values({requests}{{{here}}}, instance)"))


class _Built:
    """A model, where a builder is asked for."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def build(self) -> Any:
        """The model."""
        return self._model


def _variable(variable: str, query: str) -> dashboard.QueryVariable:
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard.QueryVariable(variable)
        .label(variable.capitalize())
        .datasource(DATASOURCE)
        .query({"query": query, "refId": variable})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Also what has no such label at all.
        .all_value(".*")
        .current(everything)
    )


def as_json(made: dashboard.Dashboard) -> str:
    """A dashboard as Grafana reads it: stable, and without what is not set."""
    document = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    for number, panel in enumerate(_panels(document), 1):
        panel["id"] = number
    return json.dumps(_filled(document), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for panel in document["panels"] for each in (panel, *panel.get("panels", ()))]


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        filled = {key: _filled(each) for key, each in value.items()}
        return {key: each for key, each in filled.items() if each is not None}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    return value
