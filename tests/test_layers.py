"""The house has floors: a module imports only what lies below it, never sideways, and no door."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import otel_search

PACKAGE = Path(otel_search.__file__).parent

FLOORS = {
    # ground floor: words
    "settings": 0,
    "semconv": 0,
    "redaction": 0,
    "context": 0,
    "query": 0,
    "encoding": 0,
    # in between: the SDK's hot path, which signals may use
    "lean": 0.5,
    # first floor: signals
    "logs": 1,
    "delivery": 1,
    "threads": 1,
    "aside": 1,
    "processes": 1,
    "metrics": 1,
    "elasticsearch": 1,
    # above the logs: a business operation ends with a line
    "operations": 2,
    "log_exporter": 2,
    # with the key that the workers share
    "callers": 2,
    # second floor: answers
    "health": 2,
    "kpis": 2,
    "alerts": 2,
    # hall
    "telemetry": 3,
    "middleware": 3,
    "endpoints": 3,
}
DOORS = {"distro", "fastapi", "cli", "demo", "doctor", "stack", "testing", "viewer"}
ONLOOKERS = {"demo", "doctor", "testing"}
LAZY_VISITORS = {"__init__", "cli"}
"""Who may import a door, inside a function: the front door and the command line."""

GROUND_FLOOR_MAY_IMPORT = sys.stdlib_module_names | {"opentelemetry.semconv"}


def modules() -> dict[str, list[Path]]:
    """Each room with its files; a package is one room."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        rooms.setdefault(room, []).append(path)
    return rooms


def imports(path: Path) -> list[tuple[str, bool]]:
    """What a file imports, and whether it does so when it is loaded."""
    tree = ast.parse(path.read_text())
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    type_checking = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in type_checking:
            continue
        at_load = id(node) not in inside_functions
        if isinstance(node, ast.Import):
            found += [(alias.name, at_load) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor they go to"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "otel_search" else []
            found += [(name, at_load) for name in names or [str(node.module)]]
    return found


def own_rooms(path: Path) -> list[tuple[str, bool]]:
    return [(name.split(".")[1], at_load) for name, at_load in imports(path) if name.startswith("otel_search.")]


def test_every_room_stands_on_a_floor() -> None:
    assert set(modules()) - {"__init__"} == set(FLOORS) | DOORS


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_a_room_imports_only_from_below(room: str) -> None:
    for path in modules()[room]:
        for target, _ in own_rooms(path):
            if target in {room, "__version__"}:
                continue
            assert target in FLOORS, f"{path.name} imports the door {target}"
            assert FLOORS[target] < FLOORS[room], f"{path.name} ({room}) imports {target}, which is not below it"


@pytest.mark.parametrize("room", sorted(name for name, floor in FLOORS.items() if floor == 0))
def test_the_ground_floor_needs_only_the_standard_library(room: str) -> None:
    for path in modules()[room]:
        for name, _ in imports(path):
            outside = not name.startswith("otel_search")
            assert not outside or name.split(".")[0] in GROUND_FLOOR_MAY_IMPORT, f"{path.name} imports {name}"


@pytest.mark.parametrize("room", sorted(set(modules()) - LAZY_VISITORS))
def test_nobody_imports_a_door(room: str) -> None:
    for path in modules()[room]:
        # They look at telemetry through the viewer's receiver and its words for what has arrived.
        visited = {target for target, _ in own_rooms(path)} - ({"viewer"} if room in ONLOOKERS else set())
        assert not (visited & DOORS) - {room}, f"{path.name} imports a door"


@pytest.mark.parametrize("room", sorted(LAZY_VISITORS))
def test_the_front_door_opens_others_only_when_asked(room: str) -> None:
    for path in modules().get(room, []):
        for target, at_load in own_rooms(path):
            assert not (at_load and target in DOORS), f"{path.name} imports {target} when it is loaded"


def test_only_settings_reads_the_environment() -> None:
    may = {"settings", "demo"}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "distro.py" or path.relative_to(PACKAGE).parts[0] in may:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                raise AssertionError(f"{path.name}:{node.lineno} reads the environment")
