"""Build the Collector, Jaeger, Prometheus, Alertmanager and OpenSearch from their pins into a cache outside the checkout.

    python -m tests.backends.build [collector] [jaeger] [prometheus] [alertmanager] [opensearch] [kafka]

Needs Go, and for OpenSearch and Kafka a JDK and Maven: all sources come through the Go module proxy and Maven
Central. A component that is built already costs nothing, so the command can stand in front of every test run.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.backends.components import Component, cache_root, components

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_BUILD_FAILED = 1
EXIT_TOOLCHAIN_MISSING = 3


class ToolchainMissingError(RuntimeError):
    """Go is not installed, or is older than a component needs."""


class BuildError(RuntimeError):
    """A build step ended with an error."""


def _go_setting(name: str) -> str:
    result = subprocess.run(["go", "env", name], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def check_toolchain(component: Component) -> str:
    """Return what will build a component: the Go version, or Maven.

    Raises:
        ToolchainMissingError: Go is absent, or too old and not allowed to fetch a newer one; Java or Maven is absent.
    """
    if component.go is None:
        missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
        if missing:
            raise ToolchainMissingError(
                f"{component.name}: {', '.join(missing)} not on PATH (a JDK and Maven are needed)"
            )
        return "Maven"
    needed = ".".join(map(str, component.go))
    if shutil.which("go") is None:
        raise ToolchainMissingError(f"{component.name}: Go is not installed (go >= {needed} is needed on PATH)")
    version = _go_setting("GOVERSION")
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", version)
    found = tuple(int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    # From 1.21 on, Go fetches the toolchain that a module asks for, unless told to stay local.
    switches = found >= (1, 21, 0) and _go_setting("GOTOOLCHAIN").split("+")[-1] in ("auto", "path")
    if found < component.go and not switches:
        raise ToolchainMissingError(f"{component.name}: Go {version!r} is too old (go >= {needed} is needed)")
    return version


@contextmanager
def _locked(component: Component) -> Iterator[None]:
    """Let one process at a time build a component; the others then find it built."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f"{component.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_steps(component: Component, directory: Path, log: Path) -> None:
    environment = dict(os.environ)
    if component.go is not None:
        environment |= {
            "CGO_ENABLED": "0",
            "GOBIN": str(directory / "bin"),
            "GOWORK": "off",
            # A module that the proxy lacks is an error to report, not a repository to clone.
            "GOPROXY": _go_setting("GOPROXY").removesuffix(",direct"),
        }
    with log.open("w") as output:
        for step in component.steps:
            command = [part.replace("{dir}", str(directory)) for part in step]
            print("+", *command, file=output, flush=True)
            result = subprocess.run(
                command, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
            if result.returncode != 0:
                break
        else:
            return
    tail = log.read_text(errors="replace").splitlines()[-15:]
    raise BuildError("\n".join([f"{component.name}: build failed, see {log}; its last lines:", *tail]))


def build(component: Component) -> bool:
    """Build a component unless it is in the cache.

    Args:
        component: What to build.

    Returns:
        True if it was built now, False if it was in the cache.

    Raises:
        ToolchainMissingError: It is not in the cache, and Go is missing or too old.
        BuildError: A step failed; the message ends with the last lines of its output.
    """
    if component.is_built():
        return False
    version = check_toolchain(component)
    with _locked(component):
        if component.is_built():
            return False
        for abandoned in cache_root().glob(f".{component.name}-*"):  # by a build that was killed
            shutil.rmtree(abandoned)
        print(f"{component.name} {component.version}: building with {version}, some minutes the first time", flush=True)
        with tempfile.TemporaryDirectory(prefix=f".{component.name}-", dir=cache_root()) as temporary:
            directory = Path(temporary)
            for name, content in component.files.items():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_text(content, encoding="utf-8")
            _run_steps(component, directory, cache_root() / f"{component.name}.log")
            finished = directory / "finished"
            finished.mkdir()
            for program in component.programs:
                (directory / "bin" / program).rename(finished / program)
            # A directory without all programs is what an interrupted clean-up left behind.
            shutil.rmtree(component.directory, ignore_errors=True)
            finished.rename(component.directory)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the named components, or all; return the exit status."""
    known = components()
    parser = argparse.ArgumentParser(prog="python -m tests.backends.build", description="Build the real backends.")
    parser.add_argument("component", nargs="*", help=f"one of {', '.join(known)}; all without one")
    names = parser.parse_args(arguments).component or list(known)
    for name in names:
        if name not in known:
            parser.error(f"component {name!r} is not one of {', '.join(known)}")
    for name in names:
        started = time.monotonic()
        try:
            built = build(known[name])
        except ToolchainMissingError as error:
            print(error, file=sys.stderr)
            if known[name].go is None:
                # It serves one room's tests alone, which skip without it or fail where it is required.
                continue
            return EXIT_TOOLCHAIN_MISSING
        except BuildError as error:
            print(error, file=sys.stderr)
            return EXIT_BUILD_FAILED
        how = f"built in {time.monotonic() - started:.0f} s" if built else "cached"
        print(f"{name} {known[name].version}: {how} ({known[name].directory})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
