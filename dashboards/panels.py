"""The kinds of panels that the dashboards are made of; each one has a unit."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")

# Units as Grafana calls them.
PER_SECOND = "reqps"
OPS = "ops"
SHARE = "percentunit"
SECONDS = "s"
BYTES = "bytes"
BYTES_PER_SECOND = "Bps"
NUMBER = "short"

Query = tuple[str, str]
"""An expression, and what its series are called: `{{label}}` stands for a label's value."""


def _target(query: Query, number: int, *, exemplars: bool, instant: bool) -> prometheus.Dataquery:
    expression, legend = query
    target = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
    if instant:
        return target.instant()
    return target.range().exemplar(exemplars)


def lines(
    title: str,
    unit: str,
    *queries: Query,
    why: str = "",
    exemplars: bool = False,
    stacked: bool = False,
    at_most: float | None = None,
    width: int = 8,
) -> timeseries.Panel:
    """Lines over time.

    Args:
        title: What is shown.
        unit: As Grafana calls it.
        *queries: What to draw.
        why: What to look for, shown at the panel's title.
        exemplars: Whether to show exemplars, which lead to their traces.
        stacked: Whether the lines are parts of a whole.
        at_most: The axis' upper end.
        width: Of 24 columns.
    """
    legend = common.VizLegendOptions().show_legend(True).display_mode(common_models.LegendDisplayMode.LIST)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(why)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(7)
        .fill_opacity(25 if stacked else 5)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(legend.placement(common_models.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if at_most is not None:
        panel = panel.max(at_most)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number, exemplars=exemplars, instant=False))
    return panel


def number(
    title: str,
    unit: str,
    expression: str,
    why: str = "",
    steps: Sequence[tuple[float | None, str]] = (),
    width: int = 4,
) -> stat.Panel:
    """One number over the dashboard's time range.

    Args:
        title: What is shown.
        unit: As Grafana calls it.
        expression: An instant query with one series.
        why: Its formula, shown at the panel's title.
        steps: From which value on it has which colour.
        width: Of 24 columns.
    """
    colours = [models.Threshold(value=value, color=colour) for value, colour in steps or ((None, "text"),)]
    return (
        stat.Panel()
        .title(title)
        .description(why)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(width)
        .height(4)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(colours))
        .with_target(_target((expression, ""), 0, exemplars=False, instant=True))
    )


def rows(title: str, unit: str, expression: str, why: str = "", width: int = 12) -> table.Panel:
    """A table of an instant query's series, one a line.

    Args:
        title: What is shown.
        unit: Of the values, as Grafana calls it.
        expression: An instant query.
        why: What to look for, shown at the panel's title.
        width: Of 24 columns.
    """
    target = _target((expression, ""), 0, exemplars=False, instant=True).format(PromQueryFormat.TABLE)
    hidden = models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True, "__name__": True}}
    )
    return (
        table.Panel()
        .title(title)
        .description(why)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(width)
        .height(8)
        .with_target(target)
        .with_transformation(hidden)
    )
