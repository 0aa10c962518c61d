"""`otel-search demo` as a user runs it: it shows everything, says what is missing, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import otel_search

COMMAND = Path(sys.executable).with_name("otel-search")
TIMEOUT = 120
URL = re.compile(r"http://127\.0\.0\.1:(\d+)")


def run(*arguments, **environ):
    return subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        check=False,
        text=True,
        timeout=TIMEOUT,
    )


def shadowed(directory, module):
    """A PYTHONPATH on which `module` is not installed, whatever is."""
    (directory / f"{module}.py").write_text(f"raise ModuleNotFoundError('No module named {module}', name={module!r})\n")
    return os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def assert_nothing_is_left(output):
    ports = set(URL.findall(output))
    assert ports
    assert [port for port in ports if listening(port)] == []
    directory = re.search(r"\S*otel-search-demo-[^/\s]*", output)
    assert directory is None or not Path(directory.group()).exists()


@pytest.fixture
def started():
    """Starts the command; what a failed test leaves running is ended."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, **environ):
            process = subprocess.Popen(
                [COMMAND, *arguments],
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate, timeout=TIMEOUT)
            stack.callback(process.terminate)  # not kill: it has processes of its own to end
            return process

        yield start


def read_until(process, words):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"ended without {words!r}:\n{''.join(lines)}\n{process.stderr.read()}")


# -- everything is seen -----------------------------------------------------------------------


def test_once_shows_traces_log_lines_and_metrics_and_ends_with_0():
    with socket.socket() as taken:
        # OTLP's port is taken, by us or by another one: the service has to be told a different one.
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 4318))
            taken.listen()
        # A user's own Collector is not the demo's business.
        result = run("demo", "--once", "--port", "0", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", COLUMNS="200")
    assert (result.returncode, result.stderr) == (0, "")
    output = result.stdout
    assert "Everything was seen" in output
    assert "\x1b" not in output
    assert re.search(
        r"search without hits  trace [0-9a-f]{32}\n"
        r"  GET /products/search +[█·]+ +\d+\.\d ms  200  \?q=hedphones\n"
        r"  ├─ search products +[█·]+ +\d+\.\d ms  CLIENT 200.*\n"
        r' +\{"query":\{"multi_match":\{"query":"\?".*\n'
        r"  └─ search products ",
        output,
    )
    assert re.search(
        r"missing product  trace .*\n  GET /products/\{product_id\} .* 404\n  └─ get products .* 404", output
    )
    assert re.search(r"GET /products/search .* 500 .*BadRequestError\n  └─ search products .* CLIENT 400", output)
    (trace_id,) = re.findall(r"Log lines of trace ([0-9a-f]{32})", output)
    assert f"search without hits  trace {trace_id}" in output
    assert re.search(r"warning +search found nothing .*did_you_mean=\['headphones'\]", output)
    assert re.search(r"info +request completed (?s:.*)http\.response\.status_code=200", output)
    assert re.search(r"http\.server\.request\.duration by route(?s:.*)GET /products/search +27 +1 ", output)
    assert re.search(r"db\.client\.operation\.duration by operation(?s:.*)search products +34 +1 ", output)
    assert_nothing_is_left(output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_goes_on_serving_until_a_signal_ends_everything(started, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{signal.Signals(number).name} is ignored here, as under nohup, and so it is in what is started")
    # A terminal that knows ASCII only has to be enough.
    demo = started("demo", "--port", "0", PYTHONIOENCODING="ascii")
    output = read_until(demo, "Ctrl-C ends it all")
    assert "`- search products" in output
    viewer_url = re.match(r"Viewer +(\S+)", output)[1]  # said first
    assert "/products/search" in httpx.get(f"{viewer_url}/traces", trust_env=False).text
    assert httpx.get(f"{viewer_url}/traces?outcome=partial", trust_env=False).text.count('class="row"') >= 2
    (base_url,) = re.findall(r"Service +(\S+)", output)
    assert listening(base_url.rpartition(":")[2])
    assert demo.poll() is None
    demo.send_signal(number)
    rest, errors = demo.communicate(timeout=TIMEOUT)
    assert (demo.returncode, errors) == (0, "")
    assert "Ending the service and the engine." in rest
    assert_nothing_is_left(output)


def test_it_does_without_the_viewer_and_without_its_ports(started):
    with contextlib.ExitStack() as stack:
        for port in (4318, 4319):
            taken = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # by somebody else, which is as well
                taken.bind(("127.0.0.1", port))
                taken.listen()
        shown = started("demo", "--port", "0")
        url = re.match(r"Viewer +(\S+)", read_until(shown, "Receiver"))[1]
        assert not url.endswith(":4319")
        assert httpx.get(url, trust_env=False).status_code == 200
        shown.terminate()
        plain = started("demo", "--port", "0", "--no-viewer")
        assert "Viewer" not in read_until(plain, "Receiver")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_was_seen_ends_everything_too(started, number):
    demo = started("demo", "--port", "0")
    output = read_until(demo, "Receiver")
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=TIMEOUT)
    assert (demo.returncode, errors) == (128 + number, "")
    assert_nothing_is_left(output)


# -- and if not -------------------------------------------------------------------------------


def test_it_says_what_was_not_seen():
    result = run("demo", "--once", "--port", "0", OTEL_SDK_DISABLED="true")
    assert result.returncode == 1
    assert "Not everything was seen" in result.stdout
    assert "no response has an X-Trace-ID header: is the service launched with otel-search?" in result.stdout


def test_of_three_signals_the_missing_one_is_named():
    result = run("demo", "--once", "--port", "0", OTEL_METRICS_EXPORTER="none")
    assert result.returncode == 1
    assert "http.server.request.duration counts 0 requests GET /products/search with 200" in result.stdout
    assert "spans" not in result.stdout.partition("Not everything was seen")[2]


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"OSMEM_SERVER_BIN": "/bin/false"}, "the embedded engine ended with status 1 before it answered"),
        ({"OSMEM_SERVER_BIN": "/nowhere/osmem"}, "the embedded engine cannot be started"),
    ],
)
def test_an_engine_that_cannot_start_is_the_reason(environ, reason):
    result = run("demo", "--once", **environ)
    assert result.returncode == 1
    assert result.stderr.startswith(f"otel-search demo: {reason}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["osmem_server", "rich", "elasticsearch"])
def test_a_missing_extra_is_named(tmp_path, module):
    result = run("demo", "--once", PYTHONPATH=shadowed(tmp_path, module))
    assert result.returncode == 1
    assert module in result.stderr
    assert result.stderr.endswith("pip install 'otel-search[demo]'\n")
    assert result.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_the_reason():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("demo", "--once", "--port", str(port))
    assert (result.returncode, result.stderr) == (1, f"otel-search demo: port {port} of 127.0.0.1 is taken\n")


def test_a_service_that_does_not_start_is_the_reason_with_its_last_words():
    result = run("demo", "--once", "--port", "0", UVICORN_WS="carrier-pigeon")
    assert result.returncode == 1
    assert result.stderr.startswith("otel-search demo: the service ended with status 1 before it was ready")
    assert "carrier-pigeon" in result.stderr
    assert_nothing_is_left(result.stdout)


def test_an_index_that_cannot_be_made_is_the_reason():
    result = run("demo", "--once", PRODUCTS_INDEX="No Such Name")
    assert result.returncode == 1
    assert result.stderr.startswith("otel-search demo: the catalogue cannot be imported into 'No Such Name': ")
    assert result.stderr.count("\n") == 1


# -- the command ------------------------------------------------------------------------------


def test_version():
    assert run("--version").stdout == f"otel-search {otel_search.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_has_an_example(arguments):
    result = run(*arguments)
    assert result.returncode == 0
    assert "  otel-search demo" in result.stdout


@pytest.mark.parametrize("port", ["http", "-1", "65536"])
def test_a_bad_port_is_named_with_what_is_accepted(port):
    result = run("demo", f"--port={port}")
    assert result.returncode == 2
    assert f"argument --port: '{port}' is not a port; accepted: 0 to 65535" in result.stderr


def test_the_command_loads_the_demo_only_when_it_is_asked_for():
    program = "import sys; from otel_search import cli; print('otel_search.demo' in sys.modules, 'rich' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False False\n"
