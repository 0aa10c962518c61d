"""However many workers there are, `/metrics` is one service; and Prometheus can work with what it reads."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.backends.components import find
from tests.backends.fixtures import require
from tests.backends.prometheus import Prometheus
from tests.changing_engine import ChangingEngine
from tests.service import BIN, Service, eventually, free_port, serve

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
COUNT = "http_server_request_duration_seconds_count"
GUNICORN = [str(BIN / "gunicorn"), "healthy:app", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"]


@pytest.fixture(scope="module")
def engine() -> Iterator[ChangingEngine]:
    with ChangingEngine() as engine:
        yield engine


@pytest.fixture
def env(engine: ChangingEngine, tmp_path: Path) -> dict[str, str]:
    return {"ENGINE": engine.url, "TMPDIR": str(tmp_path), "OTEL_SEARCH_ACCESS_LOG": "off"}


def counted(service: Service, route: str = "/search") -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=5).text
    found = re.findall(rf"^{COUNT}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in found if f'http_route="{route}"' in labels)


def send(service: Service, count: int, path: str = "/search") -> None:
    def one(_: int) -> None:
        for _ in range(20):  # a worker that is being replaced refuses for a moment
            try:
                assert httpx.get(service.url + path, timeout=10).status_code == 200
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the service does not answer")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))


def workers(service: Service) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(service.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just been killed
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def _gunicorn() -> list[str]:
    try:
        import uvicorn_worker  # noqa: F401
    except ImportError:
        return [part.replace("uvicorn_worker.", "uvicorn.workers.") for part in GUNICORN]
    return GUNICORN


@pytest.mark.parametrize("way", ["uvicorn", "gunicorn", "gunicorn --preload"])
def test_whichever_worker_is_asked_tells_of_all(env: dict[str, str], way: str, tmp_path: Path) -> None:
    command = None
    if way != "uvicorn":
        command = [*_gunicorn(), "-w", "3", *(["--preload"] if "preload" in way else [])]
    arguments = ["--workers", "3"] if command is None else []
    with serve("healthy:app", *arguments, env=env, command=command, ready="/items/healthy") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
        send(service, 120)
        assert [counted(service) for _ in range(12)] == [120] * 12
        victim = workers(service)[0]
        os.kill(victim.pid, signal.SIGKILL)
        seen = [120.0]

        def goes_on() -> bool:
            try:
                seen.append(counted(service))
            except httpx.TransportError:
                return False
            alive = [worker.pid for worker in workers(service)]
            return len(alive) == 3 and victim.pid not in alive

        eventually(goes_on)
        send(service, 60)
        seen.append(counted(service))
        assert seen == sorted(seen), "never backwards"
        assert seen[-1] == 180, "what was written a second before the end is not lost"
        assert len(list(tmp_path.glob("otel-search-*/*/*.json"))) == 3, "no file for a worker that is no more"


def test_a_worker_that_hangs_delays_a_scrape_by_a_bound(env: dict[str, str], tmp_path: Path) -> None:
    with serve("healthy:app", "--workers", "2", env=env, ready="/items/healthy") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 2)
        send(service, 40)
        assert counted(service) == 40
        hung = next(child for child in workers(service) if "spawn" in " ".join(child.cmdline()))
        os.kill(hung.pid, signal.SIGSTOP)
        try:

            def answered() -> float | None:
                try:
                    return counted(service)  # within 5 seconds, if the other worker takes the connection
                except httpx.TransportError:
                    return None

            assert eventually(answered) == 40
        finally:
            os.kill(hung.pid, signal.SIGCONT)


def test_a_reload_goes_on_counting(env: dict[str, str], tmp_path: Path) -> None:
    source = (Path(__file__).parents[1] / "apps" / "healthy.py").read_text()
    app = tmp_path / "app" / "reloaded.py"
    app.parent.mkdir()
    app.write_text(source)
    arguments = ["--app-dir", str(app.parent), "--reload", "--reload-dir", str(app.parent)]
    with serve("reloaded:app", *arguments, env=env, ready="/items/healthy") as service:
        send(service, 5)
        eventually(lambda: counted(service) == 5)
        before = {worker.pid for worker in workers(service)}
        app.write_text(f"{source}\n")
        eventually(lambda: before.isdisjoint(worker.pid for worker in workers(service)) and workers(service))
        send(service, 5)
        assert eventually(lambda: counted(service) == 10)


def test_unknown_paths_are_one_series(env: dict[str, str]) -> None:
    with serve("healthy:app", env=env, ready="/items/healthy") as service, httpx.Client(base_url=service.url) as client:
        client.get("/block/0")
        client.get("/nothing")
        text = client.get("/metrics").text
        before = sum(not line.startswith("#") for line in text.splitlines())
        for number in range(300):
            client.get(f"/wp-{number}/admin%2F{number}.php")
            client.request(f"M{number}", "/items/healthy")
            client.get(f"/block/0.{number:06}1")  # one template
            client.get(f"/files/{number}/../x")  # below a mount, which has no such route
            if number % 10 == 0:
                client.get(f"/{number}{'x' * 8000}")
        text = client.get("/metrics").text
        series = [line for line in text.splitlines() if line.startswith(COUNT)]
        assert len(series) <= 6, series
        after = sum(not line.startswith("#") for line in text.splitlines())
        assert after - before < 100, "a method that is none, and a histogram or two"
        assert not re.search(r"wp-\d|M\d+|0\.0000|xxxx|files/\d", text)
        client.get("/search")
        service.recording.wait_for(lambda seen: any(span.name == "GET /search" for span in seen.spans))
        names = {span.name for span in service.recording.spans}
        assert len(names) <= 8, names


def test_openmetrics_is_strict_and_carries_the_trace(env: dict[str, str]) -> None:
    with serve("healthy:app", env=env, ready="/items/healthy") as service:
        trace_id = service.get("/search").headers["x-trace-id"]
        answer = service.get("/metrics", headers={"accept": OPENMETRICS})
        assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        duration = families["http_server_request_duration_seconds"]
        assert (duration.type, duration.unit) == ("histogram", "seconds")
        traces = {sample.exemplar.labels["trace_id"] for sample in duration.samples if sample.exemplar}
        assert trace_id in traces
        info = families["target"].samples[0].labels
        assert info["telemetry_distro_name"] == "otel-search"
        assert "db_client_operation_duration_seconds" in families
        head = httpx.head(f"{service.url}/metrics")
        assert (head.status_code, head.content) == (200, b"")
        assert "/metrics" not in service.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"accept": ""}, "text/plain; version=0.0.4; charset=utf-8"),
        ({"accept": "*/*"}, "text/plain; version=0.0.4; charset=utf-8"),
        ({"accept": "text/plain;version=0.0.4"}, "text/plain; version=0.0.4; charset=utf-8"),
        ({"accept": "application/json"}, "text/plain; version=0.0.4; charset=utf-8"),
        ({"accept": OPENMETRICS}, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            {"accept": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.6," + OPENMETRICS},
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ({"accept": "*/*", "accept-encoding": "identity"}, "text/plain; version=0.0.4; charset=utf-8"),
        ({"accept": "*/*", "accept-encoding": "gzip"}, "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_type_says_what_is_sent(wrapped: Service, headers: dict[str, str], kind: str) -> None:
    answer = wrapped.get("/metrics", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert (answer.headers.get("content-encoding") == "gzip") is ("gzip" in answer.request.headers["accept-encoding"])
    assert answer.text.endswith("# EOF\n") is kind.startswith("application/openmetrics")
    assert "# TYPE target info" in answer.text or "# TYPE target_info gauge" in answer.text
    assert re.search(rf"^{COUNT}\{{.*\}} ", answer.text, re.MULTILINE)


@pytest.fixture(scope="module")
def wrapped() -> Iterator[Service]:
    """An application that makes something else of every response of its own."""
    with serve("wrapping:app", ready="/docs") as service:
        assert service.get("/wrapped").json() == "wrapped"
        yield service


def test_a_module_that_is_imported_twice_counts_once(tmp_path: Path) -> None:
    """`python main.py` imports what it serves a second time, by its name."""
    (tmp_path / "main.py").write_text(
        "import importlib, sys\n"
        "import uvicorn\n"
        "from fastapi import FastAPI\n"
        "from opentelemetry import metrics\n"
        "app = FastAPI()\n"
        "made = metrics.get_meter('shop').create_counter('shop.made')\n"
        "app.get('/hello')(lambda: made.add(1) or 'hello')\n"
        "if __name__ == '__main__':\n"
        "    import main\n"
        "    importlib.reload(main)\n"
        "    uvicorn.run('main:app', host='127.0.0.1', port=int(sys.argv[1]))\n"
    )
    command = [sys.executable, str(tmp_path / "main.py"), "{port}"]
    with serve("", command=command, ready="/docs") as service:
        for _ in range(5):
            assert service.get("/hello").status_code == 200
        assert counted(service, "/hello") == 5
        assert re.findall(r"^shop_made_total (\S+)$", service.get("/metrics").text, re.MULTILINE) == ["5.0"]
        assert not [line for line in service.lines + service.error_lines if "uplicate" in line]


def test_without_an_exporter_there_are_metrics_to_scrape(env: dict[str, str]) -> None:
    with serve("healthy:app", env={**env, "OTEL_METRICS_EXPORTER": "none"}, ready="/items/healthy") as service:
        send(service, 3)
        assert counted(service) == 3


def test_the_prometheus_exporters_port_is_one_for_all_workers(env: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    more = {"OTEL_METRICS_EXPORTER": "otlp,prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    with serve("healthy:app", "--workers", "3", env={**env, **more}, ready="/items/healthy") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
        send(service, 60)
        for path in ("/metrics", "/"):
            for _ in range(6):  # whichever worker answers
                text = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).text
                found = re.findall(rf'^{COUNT}\{{.*http_route="/search".*\}} (\S+)$', text, re.MULTILINE)
                assert sum(map(float, found)) == 60
        assert counted(service) == 60, "on the application's own port, too"
        service.recording.wait_for(lambda seen: sum(span.name == "GET /search" for span in seen.spans) == 60)
        service.recording.wait_for(lambda seen: seen.latest("http.server.request.duration"))
        assert not [line for line in service.lines if "cannot be" in line or "could not" in line], service.output()


def test_exponential_histograms_add_up(env: dict[str, str], tmp_path: Path) -> None:
    more = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"}
    with serve("healthy:app", "--workers", "3", env={**env, **more}, ready="/items/healthy") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
        send(service, 60)
        assert counted(service) == 60
        bucket = rf'^{COUNT.replace("_count", "_bucket")}\{{.*http_route="/search".*le="10.0".* (\S+)$'
        below = re.findall(bucket, service.get("/metrics").text, re.MULTILINE)
        assert sum(map(float, below)) == 60


class ScrapingPrometheus(Prometheus):
    """A Prometheus that scrapes one service, twice a second."""

    target = ""

    def _write_config(self) -> None:
        self._config.write_text(
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
            f"scrape_configs: [{{job_name: service, static_configs: [{{targets: ['{self.target}']}}]}}]\n",
            encoding="utf-8",
        )


@pytest.mark.backends
def test_rate_and_increase_are_right_while_a_worker_is_killed(env: dict[str, str], tmp_path: Path) -> None:
    require("prometheus")
    prometheus = ScrapingPrometheus(tmp_path / "prometheus")
    with serve("healthy:app", "--workers", "4", env=env, ready="/items/healthy") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 4)
        prometheus.target = f"127.0.0.1:{service.port}"
        send(service, 1)  # the series exists before the first scrape: an increase needs a beginning
        with prometheus:
            query = f'sum({COUNT}{{http_route="/search"}})'
            eventually(lambda: [each.value for each in prometheus.query(query)] == [1])
            began = time.time()
            sent = threading.Thread(target=send, args=(service, 300))
            sent.start()
            time.sleep(1.2)
            os.kill(next(each for each in workers(service) if "spawn" in " ".join(each.cmdline())).pid, signal.SIGKILL)
            sent.join()
            send(service, 300)
            expected = counted(service)
            # Of the killed worker, what it had in hand and the last second may be missing; nothing is counted twice.
            assert 601 - 300 / 4 <= expected <= 601
            eventually(lambda: [each.value for each in prometheus.query(query)] == [expected])
            span = int(time.time() - began) + 2
            resets = prometheus.query(f'sum(resets({COUNT}{{http_route="/search"}}[{span}s]))')
            assert [each.value for each in resets] == [0]
            delta = prometheus.query(
                f'sum(max_over_time({COUNT}{{http_route="/search"}}[{span}s])'
                f' - min_over_time({COUNT}{{http_route="/search"}}[{span}s]))'
            )
            assert [each.value for each in delta] == [expected - 1]
            increase = prometheus.query(f'sum(increase({COUNT}{{http_route="/search"}}[{span}s]))')[0].value
            assert increase == pytest.approx(expected - 1, rel=0.15), "extrapolated to the whole range"
            exemplars = prometheus.exemplars("http_server_request_duration_seconds_bucket")
            assert all(len(each.labels["trace_id"]) == 32 for each in exemplars)
            assert exemplars
            assert prometheus.targets()["service"]["health"] == "up"


@pytest.mark.backends
def test_promtool_finds_nothing_but_names_of_the_conventions(env: dict[str, str], tmp_path: Path) -> None:
    require("promtool")
    with serve("healthy:app", env=env, ready="/items/healthy") as service:
        send(service, 2)
        text = service.get("/metrics").text
        openmetrics = service.get("/metrics", headers={"accept": OPENMETRICS}).text
        told = subprocess.run(
            [str(find("promtool")), "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
    assert "error" not in told.stderr
    # The semantic conventions end names of gauges with `count`, and so does Prometheus' own OTLP receiver.
    suffix = 'non-histogram and non-summary metrics should not have "_count" suffix'
    complaints = {line for line in (told.stdout + told.stderr).splitlines() if line.strip()}
    assert {line for line in complaints if not line.endswith(suffix)} == set()
    assert all(line.split()[0].startswith(("process_", "db_client_connection")) for line in complaints)
    # It checks the text format alone. OpenMetrics it reads where samples have times, with Prometheus' own parser.
    timed = re.sub(r"(?m)^([^#\n]\S*(?:\{.*?\})? \S+)(?= #|$)", rf"\1 {time.time():.0f}", openmetrics)
    (tmp_path / "timed").write_text(timed)
    arguments = ["tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "timed"), str(tmp_path / "blocks")]
    read = subprocess.run([str(find("promtool")), *arguments], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    assert list((tmp_path / "blocks").iterdir())


def test_a_second_application_and_a_second_build_change_nothing(tmp_path: Path) -> None:
    script = tmp_path / "twice.py"
    script.write_text(
        "import threading\n"
        "from fastapi import FastAPI\n"
        "from fastapi.testclient import TestClient\n"
        "import otel_search\n"
        "threads = set()\n"
        "for number in range(20):\n"
        "    app = FastAPI()\n"
        "    app.get('/hello')(lambda: 'hello')\n"
        "    otel_search.instrument(app)\n"
        "    with TestClient(app) as client:\n"
        "        assert client.get('/hello').status_code == 200\n"
        "        app.add_exception_handler(ValueError, lambda *_: None)\n"
        "        text = client.get('/metrics').text\n"
        "        assert client.get('/health/live').status_code == 200\n"
        "    threads.add(threading.active_count())\n"
        "lines = [line for line in text.splitlines() if line.startswith('http_server_request_duration_seconds_count')]\n"
        "print('counted', lines[0].rpartition(' ')[2], 'threads', max(threads) - min(threads) < 10, len(lines))\n"
    )
    env = {**os.environ, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "counted 20.0 threads True 1" in done.stdout, done.stdout + done.stderr
