"""Health checks: bounded, shared, kept for a while; and routes of the application's own come first."""

from __future__ import annotations

import asyncio
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
from otel_search.health import HealthCheck, HealthResult, Status
from otel_search.health.component import Component, Policy
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


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "garbage", ""])
def test_without_a_limit_the_machine_counts(tmp_path: Path, limit: str) -> None:
    files = {"proc/self/cgroup": "0::/\n4:memory:/\n"}
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        files[f"sys/fs/cgroup/{name}"] = limit
    found = container.memory(_write(tmp_path, files))
    assert found.source == "system"
    assert 0 < found.used < found.limit
