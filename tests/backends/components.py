"""What is built: the pins of the Collector, Jaeger, Prometheus and Alertmanager, and where the finished programs are."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The Collector's pins are the lines of its manifest.
MANIFEST = Path(__file__).parents[2] / "collector" / "builder.yaml"
JAEGER_VERSION = "1.76.0"  # the Go module's number; the release calls itself 2.13
PROMETHEUS_VERSION = "0.316.0"  # the Go module's number; the release calls itself 3.16
ALERTMANAGER_VERSION = "0.31.1"  # newer modules lack the page that they embed, and do not build

# Stripped and free of local paths and of the checkout's git state, so the same pins give
# the same binary wherever they are built.
_BUILD = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w")
# Both Prometheus and the Collector's prometheus receiver link every cloud's service
# discovery; without them (static, file and HTTP discovery stay) the build is far shorter.
_TAGS = "netgo,remove_all_sd"
_JAEGER = "github.com/jaegertracing/jaeger/cmd/jaeger"
_PROMETHEUS = "github.com/prometheus/prometheus/cmd"
_ALERTMANAGER = "github.com/prometheus/alertmanager/cmd"
_CORE = "go.opentelemetry.io/collector"


@dataclass(frozen=True)
class Component:
    """What to build and how; all of it goes into the cache key.

    Args:
        name: The name on the command line.
        version: The pinned version, without the leading ``v``.
        go: The lowest Go version that the sources accept; None for what Maven and a JDK build.
        programs: What the steps leave in ``bin/``: binaries, and directories that they need.
        steps: Commands, run in order in an empty directory; ``{dir}`` is that directory.
        files: Files that stand in that directory before the first step.
    """

    name: str
    version: str
    go: tuple[int, int, int] | None
    programs: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of everything that the binary depends on, the platform included."""
        recipe = [self.version, self.programs, self.steps, sorted(self.files.items())]
        recipe += [sys.platform, platform.machine()]
        return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]

    @property
    def directory(self) -> Path:
        """Where the finished binaries are kept."""
        return cache_root() / f"{self.name}-{self.version}-{self.key}"

    def is_built(self) -> bool:
        """Whether every program is in the cache."""
        return all((self.directory / program).exists() for program in self.programs)


def cache_root() -> Path:
    """Return the directory that holds all built backends, outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "otel-search" / "backends"


def collector(manifest: str) -> Component:
    """Describe the build of the Collector.

    The builder writes the sources only. Its own ``go mod tidy`` asks for modules that
    nothing but upstream's tests import and that the module proxy does not have, so go.mod
    is written here: it requires what the manifest names, and ``-mod=mod`` adds the rest.

    Args:
        manifest: The text of the builder manifest.
    """
    # Without comments: rewording one must not cost everybody a build.
    content = "".join(
        f"{line}\n" for line in manifest.splitlines() if line.strip() and not line.lstrip().startswith("#")
    )
    [version] = re.findall(r"^  version: *(\S+)$", content, re.MULTILINE)
    modules = re.findall(r"^ *- gomod: *(\S+ v\S+)$", content, re.MULTILINE)
    modules += [f"{_CORE}/{part} v{version}" for part in ("otelcol", "service")]
    requires = "".join(f"\t{module}\n" for module in modules)
    return Component(
        name="collector",
        version=version,
        go=(1, 25, 0),
        programs=("otelcol-search",),
        files={
            "builder.yaml": content,
            "build/go.mod": f"module otel-search/collector\n\ngo 1.25.0\n\nrequire (\n{requires})\n",
        },
        steps=(
            ("go", "install", f"{_CORE}/cmd/builder@v{version}"),
            ("{dir}/bin/builder", "--config=builder.yaml", "--skip-get-modules", "--skip-compilation"),
            ("go", "-C", "build", "build", "-mod=mod", *_BUILD, "-tags", _TAGS, "-o", "{dir}/bin/otelcol-search", "."),
        ),
    )


def jaeger() -> Component:
    """Describe the build of Jaeger, whose go.mod rules out ``go install``: it has a replace directive."""
    return Component(
        name="jaeger",
        version=JAEGER_VERSION,
        go=(1, 24, 6),
        programs=("jaeger",),
        steps=(
            ("go", "mod", "init", "otel-search/jaeger"),
            ("go", "get", "-tool", f"{_JAEGER}@v{JAEGER_VERSION}"),
            ("go", "build", *_BUILD, "-o", "{dir}/bin/jaeger", _JAEGER),
        ),
    )


def prometheus() -> Component:
    """Describe the build of Prometheus and promtool."""
    programs = ("prometheus", "promtool")
    packages = [f"{_PROMETHEUS}/{program}@v{PROMETHEUS_VERSION}" for program in programs]
    return Component(
        name="prometheus",
        version=PROMETHEUS_VERSION,
        go=(1, 26, 7),
        programs=programs,
        steps=(("go", "install", *_BUILD, "-tags", _TAGS, *packages),),
    )


def alertmanager() -> Component:
    """Describe the build of Alertmanager and amtool."""
    programs = ("alertmanager", "amtool")
    packages = [f"{_ALERTMANAGER}/{program}@v{ALERTMANAGER_VERSION}" for program in programs]
    return Component(
        name="alertmanager",
        version=ALERTMANAGER_VERSION,
        go=(1, 24, 0),
        programs=programs,
        steps=(("go", "install", *_BUILD, "-tags", "netgo", *packages),),
    )


def components() -> dict[str, Component]:
    """Return every component by name, in the order in which they are built."""
    from tests.backends.kafka_build import kafka
    from tests.backends.opensearch_build import opensearch

    manifest = MANIFEST.read_text(encoding="utf-8")
    found = (collector(manifest), jaeger(), prometheus(), alertmanager(), opensearch(), kafka())
    return {component.name: component for component in found}


def find(program: str) -> Path | None:
    """Look a built program up in the cache.

    Args:
        program: ``otelcol-search``, ``jaeger``, ``prometheus``, ``promtool``, ``alertmanager``, ``amtool``, ``opensearch`` or ``kafka``.

    Returns:
        Its path, or None if it is not built with the pins of this checkout.
    """
    for component in components().values():
        if program in component.programs:
            return component.directory / program if component.is_built() else None
    raise ValueError(f"no component builds the program {program!r}")
