"""The build command: what it does before, without and around a long build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends import build, components

ROOT = Path(__file__).parents[2]

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; Go's own caches stay where they are."""
    if shutil.which("go"):
        # It lies under XDG_CACHE_HOME too, unless it is said where.
        monkeypatch.setenv("GOCACHE", build._go_setting("GOCACHE"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "otel-search" / "backends"


def small(source: str) -> components.Component:
    """A component that builds in a second or two and needs no module."""
    return components.Component(
        name="small",
        version="1",
        go=(1, 21, 0),
        programs=("small",),
        steps=(("go", "mod", "init", "small"), ("go", "build", "-o", "{dir}/bin/small", ".")),
        files={"main.go": source},
    )


HELLO = 'package main\n\nfunc main() { println("hello") }\n'


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.backends.build", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_missing_go_is_one_line_and_status_3(cache: Path) -> None:
    result = command("jaeger", PATH=str(cache))

    assert result.returncode == 3
    assert result.stderr == "jaeger: Go is not installed (go >= 1.24.6 is needed on PATH)\n"
    assert not cache.exists()


@needs_go
def test_go_older_than_the_sources_is_refused_when_it_must_not_fetch_a_newer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    future = components.Component(name="future", version="1", go=(99, 0, 0), programs=("x",), steps=())

    with pytest.raises(
        build.ToolchainMissingError, match=r"future: Go 'go1\S+' is too old \(go >= 99\.0\.0 is needed\)"
    ):
        build.check_toolchain(future)


def test_unknown_component_names_the_known_ones() -> None:
    result = command("grafana")

    assert result.returncode == 2
    assert "component 'grafana' is not one of collector, jaeger, prometheus" in result.stderr


@needs_go
def test_a_component_is_built_once(cache: Path) -> None:
    component = small(HELLO)

    assert build.build(component)
    assert not build.build(component)

    program = component.directory / "small"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stderr == "hello\n"
    left = {path.name for path in cache.iterdir()}
    assert left == {component.directory.name, "small.lock", "small.log"}


@needs_go
def test_a_failed_build_leaves_nothing_in_the_cache_and_says_why(cache: Path) -> None:
    broken = small("package main\n\nfunc main() { undefinedFunction() }\n")

    with pytest.raises(build.BuildError, match=r"undefined: undefinedFunction"):
        build.build(broken)

    assert {path.name for path in cache.iterdir()} == {"small.lock", "small.log"}


@needs_go
def test_what_a_killed_build_left_behind_is_cleared(cache: Path) -> None:
    component = small(HELLO)
    (cache / ".small-abandoned").mkdir(parents=True)
    component.directory.mkdir()  # without its program: unfinished

    assert build.build(component)

    assert not (cache / ".small-abandoned").exists()
    assert component.is_built()


def test_comments_in_the_manifest_do_not_cause_a_build_and_pins_do() -> None:
    manifest = components.MANIFEST.read_text(encoding="utf-8")
    key = components.collector(manifest).key

    assert components.collector(f"# another comment\n\n{manifest}").key == key
    assert components.collector(manifest.replace("batchprocessor v0.155.0", "batchprocessor v0.154.0")).key != key


def test_go_mod_requires_every_module_of_the_manifest() -> None:
    manifest = components.MANIFEST.read_text(encoding="utf-8")
    go_mod = components.collector(manifest).files["build/go.mod"]

    named = [line.split("gomod:")[1].strip() for line in manifest.splitlines() if line.strip().startswith("- gomod:")]
    assert len(named) > 20
    for module in named:
        assert f"\t{module}\n" in go_mod


def test_a_program_is_found_only_when_it_is_built(cache: Path) -> None:
    assert components.find("promtool") is None

    directory = components.prometheus().directory
    directory.mkdir(parents=True)
    for program in ("prometheus", "promtool"):
        (directory / program).touch()

    assert components.find("promtool") == directory / "promtool"


def test_a_program_that_no_component_builds_is_an_error() -> None:
    with pytest.raises(ValueError, match="no component builds the program 'kibana'"):
        components.find("kibana")
