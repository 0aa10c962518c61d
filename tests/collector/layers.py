"""The Collector's files as the Collector merges them: mappings deeply, everything else by the last one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

COLLECTOR = Path(__file__).parents[2] / "collector"


def merged(files: Iterable[Path]) -> dict[str, Any]:
    """The configuration that some files are together."""
    whole: dict[str, Any] = {}
    for file in files:
        _merge(whole, yaml.safe_load(file.read_text("utf-8")))
    return whole


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def undefined(configuration: dict[str, Any]) -> set[str]:
    """What pipelines and the service name that is nowhere defined."""
    service = configuration["service"]
    defined = {kind: set(configuration.get(kind) or ()) for kind in ("receivers", "processors", "exporters")}
    connectors = set(configuration.get("connectors") or ())
    missing = set(service["extensions"]) - set(configuration["extensions"])
    for pipeline in service["pipelines"].values():
        missing |= set(pipeline["receivers"]) - defined["receivers"] - connectors
        missing |= set(pipeline.get("processors") or ()) - defined["processors"]
        missing |= set(pipeline["exporters"]) - defined["exporters"] - connectors
    return missing
