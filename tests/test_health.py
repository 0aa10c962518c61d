"""Health checks: bounded, shared, kept for a while; and routes of the application's own come first."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from otel_search.fastapi.answers import is_routed
from otel_search.health import HealthCheck, HealthResult, Status, clients, elasticsearch
from otel_search.health.component import Component, Policy
from otel_search.health.watermarks import Watermarks
from otel_search.metrics import container


@pytest.fixture(autouse=True)
def no_checks_remain() -> Iterator[None]:
    yield
    for check in HealthCheck.registered():
        check.remove()


def component(function: Callable[[], Any], **policy: float) -> Component:
    check = HealthCheck("part")
    check.function = function
    return Component(check, Policy(**{"timeout": 0.2, "cache": 0.0, **policy}))  # type: ignore[arg-type]


async def _coroutine() -> str:
    return "from the loop"


def test_what_a_check_returns_says_how_it_is() -> None:
    async def read(returned: Any) -> HealthResult:
        return await component(lambda: returned).refreshed()

    for returned, status, message in [
        (None, Status.HEALTHY, ""),
        (True, Status.HEALTHY, ""),
        ("12 accounts", Status.HEALTHY, "12 accounts"),
        (False, Status.UNHEALTHY, "the check says no"),
        (HealthResult.degraded("slow"), Status.DEGRADED, "slow"),
        (42, Status.UNHEALTHY, "the check returned a int"),
    ]:
        result = asyncio.run(read(returned))
        assert (result.status, result.message) == (status, message)
    assert asyncio.run(component(_coroutine).refreshed()).message == "from the loop"


def test_an_exception_is_unhealthy_and_its_text_is_a_detail() -> None:
    def fails() -> None:
        raise OSError("password hunter2 refused")

    result = asyncio.run(component(fails).refreshed())
    assert result.status is Status.UNHEALTHY
    assert "hunter2" not in result.message
    assert "hunter2" in result.details["error"]


def test_a_check_that_hangs_costs_its_bound_and_one_thread() -> None:
    release = threading.Event()
    hanging = component(release.wait)

    async def ask() -> tuple[HealthResult, float]:
        began = time.monotonic()
        return await hanging.refreshed(), time.monotonic() - began

    first, took = asyncio.run(ask())
    assert (first.reason, took < 5) == ("timeout", True)
    threads = threading.active_count()
    for _ in range(5):
        again, _ = asyncio.run(ask())
        assert again.reason == "timeout"
    assert threading.active_count() <= threads
    release.set()


def test_a_coroutine_that_hangs_is_cancelled() -> None:
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def ask() -> HealthResult:
        result = await component(hang).refreshed()
        await asyncio.sleep(0.05)
        return result

    assert asyncio.run(ask()).reason == "timeout"
    assert ended == ["cancelled"]


def test_those_who_ask_at_once_share_one_run() -> None:
    runs: list[int] = []

    def check() -> None:
        runs.append(1)
        time.sleep(0.05)

    shared = component(check, cache=60.0)

    async def ask() -> None:
        await asyncio.gather(*(shared.refreshed() for _ in range(50)))

    asyncio.run(ask())
    asyncio.run(ask())
    assert len(runs) == 1


def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    shared = component(lambda: time.sleep(0.05))

    async def ask() -> HealthResult:
        first, second = asyncio.create_task(shared.refreshed()), asyncio.create_task(shared.refreshed())
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert asyncio.run(ask()).status is Status.HEALTHY


def test_one_miss_does_not_flip_readiness() -> None:
    answers = [True, False, True, False, False, True, False, True]
    flapping = component(lambda: answers.pop(0), failures=2, successes=1)

    async def ask() -> list[bool | None]:
        seen = []
        while answers:
            await flapping.refreshed()
            seen.append(flapping.down)
        return seen

    assert asyncio.run(ask()) == [False, False, False, False, True, False, False, False]


def test_the_first_result_counts_at_once() -> None:
    down = component(lambda: False)
    asyncio.run(down.refreshed())
    assert down.down is True


@pytest.mark.parametrize("name", ["", "with space", "x" * 65, "1st", "ünïcode"])
def test_a_name_that_cannot_be_used_is_refused_with_what_can(name: str) -> None:
    with pytest.raises(ValueError, match="is not accepted; accepted: a letter") as refused:
        HealthCheck(name)
    assert repr(name) in str(refused.value)


def test_a_check_of_the_same_name_takes_the_place_of_the_earlier_one() -> None:
    HealthCheck("twice")(lambda: False)
    second = HealthCheck("twice")
    second(lambda: True)
    assert HealthCheck.registered() == [second]


def _scope(path: str, method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "path": path, "root_path": "", "method": method, "headers": [], "app": None}


def _plain(_: Any) -> PlainTextResponse:
    return PlainTextResponse("theirs")


def test_a_route_of_the_applications_own_wins() -> None:
    app = FastAPI()
    router = APIRouter(prefix="/health")
    router.add_api_route("/ready", lambda: "theirs")
    app.include_router(router)
    app.mount("/metrics", PlainTextResponse("an ASGI application"))
    app.mount("/sub", Starlette(routes=[Route("/health", _plain)]))
    assert is_routed(app.router.routes, _scope("/health/ready"))
    assert is_routed(app.router.routes, _scope("/health/ready", "POST")), "it refuses the method itself"
    assert is_routed(app.router.routes, _scope("/metrics/"))
    assert is_routed(app.router.routes, _scope("/sub/health"))
    assert not is_routed(app.router.routes, _scope("/health"))
    assert not is_routed(app.router.routes, _scope("/health/live"))


def test_files_at_the_root_are_no_route_of_that_path() -> None:
    routes = [Mount("/", app=PlainTextResponse("files"))]
    assert not is_routed(routes, _scope("/health"))
    assert is_routed([Mount("/", routes=[Route("/health", _plain)])], _scope("/health"))


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_counts_against_the_limit_of_a_cgroup_v2(tmp_path: Path) -> None:
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1/box\n",
            "sys/fs/cgroup/kubepods/pod1/box/memory.max": "max\n",
            "sys/fs/cgroup/kubepods/pod1/box/memory.current": "900\n",
            "sys/fs/cgroup/kubepods/pod1/memory.max": "1000\n",
            "sys/fs/cgroup/kubepods/pod1/memory.current": "950\n",
            "sys/fs/cgroup/kubepods/pod1/memory.stat": "anon 400\ninactive_file 450\n",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "50000 100000\n",
        },
    )
    assert container.memory(root) == container.Memory(500, 1000, "cgroup v2")
    assert container.cpus(root) == 0.5


def test_memory_counts_against_the_limit_of_a_cgroup_v1(tmp_path: Path) -> None:
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/box\n3:cpu,cpuacct:/docker/box\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",  # the container's own view: its path is not there
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1800\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 800\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert container.memory(root) == container.Memory(1000, 2000, "cgroup v1")
    assert container.cpus(root) == min(1.5, container.cpus(Path("/nowhere")))


def test_processors_that_the_process_may_not_run_on_do_not_count() -> None:
    source = (
        "import os\n"
        "from otel_search.metrics import container\n"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
        "print(container.cpus())\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) <= 1


def _real_cgroup(name: str, files: dict[str, str]) -> Path | None:
    """A real control group with these limits, where one can be made."""
    root = Path("/sys/fs/cgroup")
    v2 = (root / "cgroup.controllers").exists()
    group = (root if v2 else root / name.partition(".")[0]) / f"otel-search-test-{os.getpid()}"
    try:
        group.mkdir()
        for file, text in files.items():
            (group / file).write_text(text)
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        return None
    return group


@pytest.mark.parametrize(
    ("version", "name", "files", "expected"),
    [
        ("v1", "memory", {"memory.limit_in_bytes": str(256 << 20)}, ("cgroup v1", 256 << 20)),
        ("v1", "cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}, 0.5),
        ("v2", "memory.max", {"memory.max": str(256 << 20)}, ("cgroup v2", 256 << 20)),
        ("v2", "cpu.max", {"cpu.max": "50000 100000"}, 0.5),
    ],
)
def test_a_real_control_group_limits_what_there_is(
    version: str, name: str, files: dict[str, str], expected: Any
) -> None:
    is_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = _real_cgroup(name, files) if is_v2 is (version == "v2") else None
    if group is None:
        pytest.skip(f"no control group {version} can be made here for {name}")
    script = (
        "import sys, pathlib\n"
        f"pathlib.Path({str(group / 'cgroup.procs')!r}).write_text('0')\n"
        "from otel_search.metrics import container\n"
        "memory = container.memory()\n"
        "print(repr(container.cpus()) if 'cpu' in sys.argv[1] else repr((memory.source, memory.limit)))\n"
        "assert 0 < memory.used <= memory.limit\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, check=False)
        if "PermissionError" in done.stderr:
            pytest.skip("no process can be put into a control group here")
        assert done.stdout.strip() == repr(expected), done.stderr
    finally:
        group.rmdir()


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "garbage", ""])
def test_without_a_limit_the_machine_counts(tmp_path: Path, limit: str) -> None:
    files = {"proc/self/cgroup": "0::/\n4:memory:/\n"}
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        files[f"sys/fs/cgroup/{name}"] = limit
    found = container.memory(_write(tmp_path, files))
    assert found.source == "system"
    assert 0 < found.used < found.limit


def _asking(marks: dict[str, str], disks: dict[str, int], asked: list[str], status: int = 200) -> Any:
    """A cluster whose disks have so many percent of 1000 GB in use."""

    def ask(method: str, path: str, seconds: float) -> tuple[int, bytes]:
        asked.append(path.partition("?")[0])
        if path.startswith("/_cluster/settings"):
            prefix = "cluster.routing.allocation.disk."
            told: Any = {"defaults": {f"{prefix}{name}": value for name, value in marks.items()}}
        else:
            rows = [
                {"node": node, "disk.avail": str((100 - used) * 10 * 2**30), "disk.total": str(1000 * 2**30)}
                for node, used in disks.items()
            ]
            told = [*rows, {"node": "UNASSIGNED", "disk.avail": None, "disk.total": None}]
        return status, json.dumps(told).encode()

    return ask


PERCENT = {"watermark.low": "85%", "watermark.high": "90%", "watermark.flood_stage": "95%", "threshold_enabled": "true"}
HEADROOM = {
    f"{name}.max_headroom": size for name, size in zip(list(PERCENT)[:3], ("200GB", "150GB", "100GB"), strict=True)
}


@pytest.mark.parametrize(
    ("marks", "disks", "reason", "nodes"),
    [
        (PERCENT, {"a": 50, "b": 84}, None, ""),
        (PERCENT, {"a": 50, "b": 86}, "disk_low", "b"),
        (PERCENT, {"a": 91, "b": 86}, "disk_high", "a"),
        (PERCENT, {"a": 96, "b": 97}, "disk_flood_stage", "a, b"),
        ({**PERCENT, **HEADROOM}, {"a": 96}, "disk_flood_stage", "a"),
        ({**PERCENT, "watermark.flood_stage.max_headroom": "10gb"}, {"a": 96}, "disk_high", "a"),
        ({"watermark.high": "0.9"}, {"a": 91}, "disk_high", "a"),
        ({"watermark.high": "100gb"}, {"a": 91}, "disk_high", "a"),
        ({**PERCENT, "threshold_enabled": "false"}, {"a": 99}, None, ""),
        ({"watermark.high": "garbage"}, {"a": 99}, None, ""),
    ],
)
def test_disk_watermarks(marks: dict[str, str], disks: dict[str, int], reason: str | None, nodes: str) -> None:
    green = HealthResult.healthy("cluster is green", nodes=2)
    found = Watermarks().added_to(green, _asking(marks, disks, []), 1.0)
    assert found.reason == reason
    if reason is None:
        assert found is green
    else:
        assert found.status is Status.DEGRADED, "searches work"
        assert f"passed on {nodes}:" in found.message
        assert found.details["nodes"] == 2
        assert found.details["disk_watermarks"]


def test_disk_watermarks_are_asked_for_twice_a_minute_and_only_if_allowed() -> None:
    now, asked = [0.0], []
    marks, green = Watermarks(clock=lambda: now[0]), HealthResult.healthy("cluster is green")
    for now[0] in range(60):
        assert marks.added_to(green, _asking(PERCENT, {"a": 99}, asked), 1.0).reason == "disk_flood_stage"
    assert len(asked) == 4
    forbidden: list[str] = []
    marks = Watermarks(clock=lambda: now[0])
    for now[0] in range(500):
        assert marks.added_to(green, _asking(PERCENT, {"a": 99}, forbidden, status=403), 1.0) is green
    assert len(forbidden) == 1

    def fails(*_: Any) -> Any:
        raise OSError("gone")

    assert Watermarks().added_to(green, fails, 1.0) is green
    yellow = HealthResult.degraded("cluster is yellow", reason="yellow")
    both = Watermarks().added_to(yellow, _asking(PERCENT, {"a": 99}, []), 1.0)
    assert (both.reason, both.message.startswith("cluster is yellow; disk watermark flood_stage")) == ("yellow", True)


def test_connections_of_the_dsl_are_found_before_they_are_opened() -> None:
    from elasticsearch.dsl import async_connections, connections

    def addresses() -> set[str]:
        return {f"{node.host}:{node.port}" for each, _ in clients.found() for node in each.node_pool.all()}

    clients.watch()
    try:
        connections.configure(
            default={"hosts": ["http://dsl-default.example:9200"], "sniff_on_start": True},
            broken={"no such argument": 1},
        )
        async_connections.configure(other={"hosts": ["http://dsl-async.example:9201"]})
        expected = {"dsl-default.example:9200", "dsl-async.example:9201"}
        assert expected <= addresses()
        assert connections.connections._conns == {}, "nothing was opened for the application"
        clusters = elasticsearch.clusters("", (), 1.0, {})
        assert {"elasticsearch:dsl-default.example:9200", "elasticsearch:dsl-async.example:9201"} <= set(clusters)
        connections.configure(default={"hosts": ["http://dsl-moved.example:9200"]})
        client = connections.get_connection()
        seen = [node.host for each, _ in clients.found() for node in each.node_pool.all()]
        assert seen.count("dsl-moved.example") == 1
        del client
    finally:
        connections.configure()
        async_connections.configure()
    addresses()
    gc.collect()
    assert expected.isdisjoint(addresses())
