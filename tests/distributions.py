"""Small distributions in a directory: what `pip install` leaves behind of a package, for PYTHONPATH."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path


def install(
    directory: Path,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
    version: str = "1.0",
) -> Path:
    """Put a distribution into a directory.

    Args:
        directory: To be put on PYTHONPATH; what is found there comes before the environment's own.
        name: Of the distribution. One with the name of an installed one stands in its place.
        entry_points: Groups, each with names and values.
        modules: Module names and their source.
        version: Of the distribution.

    Returns:
        The directory.
    """
    info = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())])
        for group, entries in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    for module, source in (modules or {}).items():
        (directory / f"{module}.py").write_text(source)
    return directory


def install_again(directory: Path, name: str) -> Path:
    """Let an installed distribution be found first: its entry points once more, in a directory of its own."""
    installed = importlib.metadata.distribution(name)
    groups: dict[str, dict[str, str]] = {}
    for entry in installed.entry_points:
        groups.setdefault(entry.group, {})[entry.name] = entry.value
    return install(directory, name, groups, version=installed.version)
