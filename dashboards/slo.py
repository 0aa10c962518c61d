"""Whether the promises are kept, how fast the error budget goes, and what fires."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard, Row
from grafana_foundation_sdk.models.dashboard import VariableOption

from dashboards.frame import frame
from dashboards.names import ANSWERED, FAILED, TIMED, increase, of, share
from dashboards.panels import NUMBER, SHARE, lines, number, rows
from otel_search import semconv

REQUESTS = of(semconv.HTTP_DURATION, ANSWERED, suffix="count")
FAILURES = of(semconv.HTTP_DURATION, FAILED, suffix="count")
BUDGET = "(1 - $objective / 100)"


def _failing(window: str) -> str:
    failures, requests = (f"sum(rate({selector}[{window}]))" for selector in (FAILURES, REQUESTS))
    return share(failures, requests)


def build() -> Dashboard:
    """The dashboard."""
    objective = (
        CustomVariable("objective")
        .label("Objective, %")
        .values("99,99.5,99.9,99.95,99.99")
        .current(VariableOption(selected=True, text="99.9", value="99.9"))
    )
    fast = of(semconv.HTTP_DURATION, TIMED, 'le=~"$threshold|$threshold.0"', suffix="bucket")
    threshold = (
        CustomVariable("threshold")
        .label("Fast, s")
        .values("0.1,0.25,0.5,1,2.5")
        .current(VariableOption(selected=True, text="0.25", value="0.25"))
    )
    made = frame("otel-search-slo", "SLO and alerts", "Are the promises kept, and who has to get up?")
    made = made.with_variable(objective).with_variable(threshold)
    made = made.with_row(Row("Objective, over the time range"))
    lost = share(increase(FAILURES), increase(REQUESTS))
    for panel in (
        number(
            "Availability",
            SHARE,
            f"1 - {lost}",
            "1 - failed / answered; what clients broke off is in neither.",
            [(None, "red"), (0.99, "orange"), (0.999, "green")],
            width=6,
        ),
        number(
            "Error budget left",
            SHARE,
            f"1 - {lost} / {BUDGET}",
            "1 - failed share / (1 - objective): below 0 the objective is missed.",
            [(None, "red"), (0, "orange"), (0.25, "green")],
            width=6,
        ),
        number(
            "Fast answers",
            SHARE,
            f"{increase(fast)} / {increase(of(semconv.HTTP_DURATION, TIMED, suffix='count'))}",
            "Share of requests, without streams, that took no longer than the threshold above.",
            width=6,
        ),
        number(
            "Firing now",
            NUMBER,
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            "Alerts that Prometheus finds to be firing.",
            [(None, "green"), (1, "red")],
            width=6,
        ),
        lines(
            "Burn rate",
            NUMBER,
            *((f"{_failing(window)} / {BUDGET}", window) for window in ("5m", "1h", "6h", "3d")),
            why="How many times faster than allowed the error budget goes. 14.4 over an hour is 2 % of a month's.",
            width=16,
        ),
        lines(
            "Fast answers over time",
            SHARE,
            (
                (
                    f"sum(rate({fast}[$__rate_interval])) / "
                    f"sum(rate({of(semconv.HTTP_DURATION, TIMED, suffix='count')}[$__rate_interval]))"
                ),
                "fast",
            ),
            at_most=1,
        ),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Alerts"))
    for panel in (
        rows("Firing and pending", NUMBER, "ALERTS", "Each alert with its labels, as Prometheus evaluates the rules."),
        lines(
            "Alerts over time",
            NUMBER,
            ('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),
            stacked=True,
            width=12,
        ),
    ):
        made = made.with_panel(panel)
    return made
