"""Prometheus with its OTLP receiver and exemplar storage on, and its HTTP API as far as tests read it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.backends.server import Server, get_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = Path(__file__).parents[2] / "collector" / "prometheus"

# Nobody wants to wait 15 s to see a target come up.
_FASTER = {"scrape_interval: 15s": "scrape_interval: 1s", "refresh_interval: 10s": "refresh_interval: 100ms"}


@dataclass(frozen=True)
class Series:
    """One series of an instant query's answer."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Exemplar:
    """An exemplar and the series it belongs to.

    Args:
        series: The labels of the series, ``__name__`` among them.
        labels: The exemplar's own labels: ``trace_id``, ``span_id``, filtered attributes.
        value: The recorded value.
        timestamp: In seconds since the epoch.
    """

    series: dict[str, str]
    labels: dict[str, str]
    value: float
    timestamp: float


class Prometheus(Server):
    """A Prometheus process; ``scrape`` says which backends it watches."""

    program = "prometheus"
    port_names = ("web",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._targets: dict[str, str | Sequence[str]] = {}

    def arguments(self) -> list[str]:
        """Return the command line after the program, and write the configuration it names."""
        self._write_config()
        return [
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={self.address('web')}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ]

    def ready_url(self) -> str:
        """Return the URL that answers 200 once Prometheus serves."""
        return f"{self.url}/-/ready"

    @property
    def url(self) -> str:
        """Base URL; OTLP goes to ``/api/v1/otlp`` below it."""
        return f"http://{self.address('web')}"

    @property
    def _config(self) -> Path:
        return self.directory / "prometheus.yaml"

    def _write_config(self) -> None:
        text = (CONFIG / "prometheus.yaml").read_text(encoding="utf-8")
        for old, new in _FASTER.items():
            if old not in text:
                raise ValueError(f"prometheus.yaml has no {old!r}: keep tests/backends/prometheus.py in step with it")
            text = text.replace(old, new)
        self._config.write_text(text, encoding="utf-8")
        if (CONFIG / "rules").is_dir():
            shutil.copytree(CONFIG / "rules", self.directory / "rules", dirs_exist_ok=True)
        self.scrape(self._targets)

    def scrape(self, targets: Mapping[str, str | Sequence[str]]) -> None:
        """Say what to scrape beside itself, in place of the files of targets; no reload is needed.

        Args:
            targets: ``host:port``, one or several, by job name. ``alertmanager`` is where alerts go, too.
        """
        self._targets = dict(targets)
        jobs = {
            job: [addresses] if isinstance(addresses, str) else list(addresses)
            for job, addresses in {**targets, "prometheus": self.address("web")}.items()
        }
        found = [{"targets": addresses, "labels": {"job": job}} for job, addresses in jobs.items()]
        alertmanagers = [{"targets": jobs["alertmanager"]}] if "alertmanager" in jobs else []
        for name, content in (("targets", found), ("alertmanagers", alertmanagers)):
            # Prometheus watches the directory: it must never see half a file.
            unfinished = self.directory / f".{name}"
            unfinished.write_text(json.dumps(content), encoding="utf-8")
            unfinished.replace(self.directory / f"{name}.yaml")

    def query(self, expression: str) -> list[Series]:
        """Run an instant query that gives a vector."""
        data = get_json(f"{self.url}/api/v1/query", {"query": expression})["data"]
        return [Series(each["metric"], float(each["value"][1])) for each in data["result"]]

    def exemplars(self, expression: str, since: float = 3600.0) -> list[Exemplar]:
        """Return the exemplars of the series that a query selects.

        Args:
            expression: A PromQL expression; its selectors count.
            since: How far to look back, in seconds.
        """
        now = time.time()
        parameters = {"query": expression, "start": str(now - since), "end": str(now + 60)}
        return [
            Exemplar(each["seriesLabels"], one["labels"], float(one["value"]), float(one["timestamp"]))
            for each in get_json(f"{self.url}/api/v1/query_exemplars", parameters)["data"]
            for one in each["exemplars"]
        ]

    def targets(self) -> dict[str, dict[str, Any]]:
        """Return the active scrape targets by job, each as the API gives it (``health``, ``lastError``, …)."""
        active = get_json(f"{self.url}/api/v1/targets", {"state": "active"})["data"]["activeTargets"]
        return {target["labels"]["job"]: target for target in active}
