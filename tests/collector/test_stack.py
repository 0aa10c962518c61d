"""`otel-search stack`: the whole stack as files, for a service of the user's own."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from otel_search import cli, stack

ROOT = Path(__file__).parents[2]


def variables(directory: Path) -> dict[str, str]:
    lines = (directory / ".env").read_text("utf-8").splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines if line[:1] != "#")}


def test_init_writes_everything_that_the_compose_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stack", "init", str(tmp_path / "shop")]) == 0
    shop = tmp_path / "shop"
    assert (shop / "docker-compose.yml").read_bytes() == (ROOT / "docker-compose.yml").read_bytes()
    for path in (ROOT / "collector").rglob("*"):
        if path.is_file():
            assert (shop / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert "requirements.txt" in (shop / "Dockerfile").read_text("utf-8")
    assert os.access(shop / "collector/elasticsearch/setup.sh", os.X_OK)
    assert f"wrote  {shop / '.env'}" in capsys.readouterr().out
    assert variables(shop)["APP_MODULE"] == "app:app"
    assert variables(shop)["OTEL_SERVICE_NAME"] == "shop"
    assert "/.env" in (shop / ".gitignore").read_text("utf-8").splitlines()


def test_passwords_are_random_and_for_the_owner_alone(tmp_path: Path) -> None:
    stack.env(tmp_path / "one")
    stack.env(tmp_path / "two")
    one, two = variables(tmp_path / "one"), variables(tmp_path / "two")
    assert set(stack.PASSWORDS) < set(one)
    values = [each[name] for each in (one, two) for name in stack.PASSWORDS]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    assert stat.S_IMODE((tmp_path / "one" / ".env").stat().st_mode) == 0o600
    kind, _, login = one["COLLECTOR_ELASTICSEARCH_AUTHORIZATION"].partition(" ")
    assert kind == "Basic"
    assert base64.b64decode(login).decode() == f"collector:{one['COLLECTOR_ELASTICSEARCH_PASSWORD']}"


def test_nothing_that_exists_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"Dockerfile": "FROM mine\n", ".env": "ELASTIC_PASSWORD=mine\n", "collector/collector.yaml": "mine\n"}
    (tmp_path / "collector").mkdir()
    for name, text in own.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "docker-compose.yml").symlink_to(tmp_path / "elsewhere.yml")
    assert cli.main(["stack", "init", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for name, text in own.items():
        assert (tmp_path / name).read_text("utf-8") == text
        assert f"kept   {tmp_path / name}" in said
    assert not (tmp_path / "elsewhere.yml").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert cli.main(["stack", "init", str(tmp_path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_was_there_and_lacks_something_is_said_and_added_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "DATABASE=x\nexport COLLECTOR_ELASTICSEARCH_PASSWORD='mine'\nGRAFANA_ADMIN_PASSWORD=\nOTEL_SERVICE_NAME=shop"
    (tmp_path / ".env").write_text(own)
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    (tmp_path / ".dockerignore").write_text("**/.env*\n")
    assert cli.main(["stack", "init", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    made = {name for name in stack.PASSWORDS if name != "COLLECTOR_ELASTICSEARCH_PASSWORD"}
    made |= {"APP_MODULE", "COLLECTOR_ELASTICSEARCH_AUTHORIZATION"}
    (line,) = [line for line in said.splitlines() if line.startswith(f"note   {tmp_path / '.env'} was there without ")]
    assert set(line.partition(" without ")[2].removesuffix(": --append adds them").split(", ")) == made
    assert f"note   {tmp_path / '.gitignore'} was there: add .env to it" in said
    assert ".dockerignore was there:" not in said
    assert (tmp_path / ".env").read_text() == own
    assert cli.main(["stack", "init", str(tmp_path), "--append"]) == 0
    now = variables(tmp_path)
    assert (tmp_path / ".env").read_text().startswith(f"{own}\n")
    assert all(now[name] for name in made)
    login = now["COLLECTOR_ELASTICSEARCH_AUTHORIZATION"].removeprefix("Basic ")
    assert base64.b64decode(login) == b"collector:mine"
    assert f"{tmp_path / '.env'} can be read by others" in capsys.readouterr().out
    before = (tmp_path / ".env").read_text()
    assert cli.main(["stack", "env", str(tmp_path), "--append"]) == 0
    assert (tmp_path / ".env").read_text() == before


def test_containers_can_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        stack.init(tmp_path / "shop")
    finally:
        os.umask(before)
    for path in (tmp_path / "shop").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == 0o600 if path.name == ".env" else mode & 0o044 == 0o044, path
        assert not path.is_dir() or mode == 0o755


def test_a_directory_that_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["stack", "init", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_the_wheel_carries_the_stack(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys, pathlib, otel_search.stack as stack; stack.init(pathlib.Path(sys.argv[1])); print(stack.__file__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "shop")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    made = subprocess.run(
        command, check=True, timeout=60, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert made.stdout.startswith(str(tmp_path / "site"))
    stack.init(tmp_path / "here")
    written, here = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file() and path.name != ".env"}
        for top in (tmp_path / "shop", tmp_path / "here")
    )
    assert written == here
