"""The command `otel-search`, as a shell and a person at a terminal see it: the real executable."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import otel_search
from otel_search.cli import COMMANDS
from tests.service import BIN, PATIENCE, eventually

PROGRAM = str(BIN / "otel-search")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NO_COLOR", "COLUMNS"))},
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
}


def run(
    *arguments: str, command: Sequence[str] = (PROGRAM,), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        env={**ENVIRONMENT, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_help_names_every_command_and_has_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert [name for name in COMMANDS if f"\n    {name} " not in done.stdout] == []
    assert "otel-search run -- uvicorn app:app" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_an_example(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert re.search(rf"examples?:\n +otel-search {name}", done.stdout), done.stdout


def test_the_help_loads_nothing_that_it_does_not_need() -> None:
    source = """
import contextlib, sys
from otel_search.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
print([name for name in ("opentelemetry", "fastapi", "rich", "httpx", "otel_search.settings") if name in sys.modules])
"""
    assert run(command=[sys.executable, "-c", source]).stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_package_s() -> None:
    assert run("--version").stdout == f"otel-search {otel_search.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["docter"], "'docter' is no command; did you mean doctor?"),
        (["xyzzy"], f"'xyzzy' is no command; there are {', '.join(COMMANDS)}"),
        ([], "the following arguments are required: COMMAND"),
        (["demo", "--", "uvicorn"], "otel-search demo takes no command after --"),
        (["demo", "--prot", "8000"], "unrecognized arguments: --prot"),
        (["doctor", "--timeout", "soon"], "'soon' are no seconds; accepted: above 0, up to 3600"),
        (["doctor", "--ignore", "endpoint"], "--ignore endpoint is no finding; see docs/doctor.md"),
        (["run"], "which command? As in: otel-search run -- uvicorn app:app"),
        (["run", "--port", "eighty", "--", "uvicorn"], "'eighty' is not a port; accepted: 0 to 65535"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_that_says_what_is_accepted(arguments: list[str], text: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert text in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_library_that_is_missing_is_named_with_the_extra_that_has_it() -> None:
    source = "import sys; sys.modules['{0}'] = None; from otel_search.cli import main; sys.exit(main(sys.argv[1:]))"
    done = run("--print-completion", "bash", command=[sys.executable, "-c", source.format("shtab")])
    assert (done.returncode, done.stderr) == (
        1,
        "otel-search --print-completion needs shtab: pip install 'otel-search[cli]'\n",
    )
    done = run("demo", command=[sys.executable, "-c", source.format("httpx")])
    assert (done.returncode, done.stderr) == (
        1,
        "otel-search demo needs httpx: pip install 'otel-search[demo]'\n",
    )


@pytest.mark.parametrize("arguments", [["doctor"], ["alerts", "list"], ["stack", "init"]], ids=" ".join)
def test_nobody_who_reads_the_output_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [PROGRAM, *arguments, *([str(tmp_path)] if "init" in arguments else [])]
    process = subprocess.Popen(
        # Each line at once: what comes of it is to be met where it is written.
        command,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, "")


def test_an_output_that_is_closed_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" alerts list >&-', PROGRAM],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(run("--print-completion", "bash").stdout)
    ask = 'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); _shtab_otel_search; echo "${COMPREPLY[@]}"'

    def completions(*words: str) -> list[str]:
        return run(ask, "-", str(script), "otel-search", *words, command=["bash", "-c"]).stdout.split()

    assert completions("doc") == ["doctor"]
    assert set(completions("")) >= set(COMMANDS)
    assert "--timeout" in completions("doctor", "--t")


def at_terminal(arguments: Sequence[str], env: Mapping[str, str]) -> str:
    """What a person sees at a terminal."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *arguments], env={**ENVIRONMENT, "TERM": "xterm", **env}, stdin=end, stdout=end, stderr=end
    )
    os.close(end)
    seen = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # nobody holds the other end any more
            break
        if not data:
            break
        seen += data
    os.close(terminal)
    process.wait(PATIENCE)
    return seen.decode()


RED = re.compile(r"\x1b\[[\d;]*3\dm")


def test_a_terminal_has_colours_and_says_what_is_being_done() -> None:
    seen = at_terminal(["doctor"], {})
    assert RED.search(seen)
    assert "asking the endpoints …" in seen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_are_left_out_on_request(env: dict[str, str]) -> None:
    seen = at_terminal(["doctor"], env)
    assert "endpoint-refused" in seen
    assert not RED.search(seen)


def test_a_pipe_has_neither_colours_nor_progress() -> None:
    done = run("doctor")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_a_finding_that_is_ignored_does_not_count() -> None:
    well = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}
    env = {**well, "OTEL_PYTHON_DISTRO": "otel_search", "OTEL_SEARCH_LOGFORMAT": "json"}
    assert run("doctor", env=env).returncode == 1
    done = run("doctor", "--ignore", "setting-unknown", env=env)
    assert (done.returncode, "setting-unknown" in done.stdout) == (0, False)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_doctor_and_what_it_has_started(tmp_path: Path, number: int, status: int) -> None:
    note = tmp_path / "pid"
    source = f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(600)"
    process = subprocess.Popen(
        [PROGRAM, "doctor", "--", sys.executable, "-c", source],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pid = int(eventually(lambda: note.exists() and note.read_text()))
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output, errors) == (status, "", "")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
