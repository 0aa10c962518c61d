"""The whole stack for one machine, as files: docker-compose.yml, collector/, a Dockerfile, and passwords in .env.

There is one copy of them, at the top of the checkout; the wheel carries it as data of this package.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

PASSWORDS = (
    "ELASTIC_PASSWORD",
    "APP_ELASTICSEARCH_PASSWORD",
    "COLLECTOR_ELASTICSEARCH_PASSWORD",
    "JAEGER_ELASTICSEARCH_PASSWORD",
    "GRAFANA_ELASTICSEARCH_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
    "OTEL_SEARCH_ADMIN_TOKEN",
)
"""Variables of docker-compose.yml that have no default: each gets a random value of its own."""

_AUTHORIZATION = "COLLECTOR_ELASTICSEARCH_AUTHORIZATION"
_HEAD = "# Passwords of docker-compose.yml, made for this directory alone: keep it out of version control.\n"


@dataclass(frozen=True)
class Written:
    """What a call did.

    Attributes:
        made: Files that were written.
        kept: Files that were there already, and stay as they are.
    """

    made: tuple[Path, ...]
    kept: tuple[Path, ...]


def files() -> dict[Path, Path]:
    """Every file of the stack: its place in the user's directory, and where it comes from."""
    source = HERE if (HERE / "docker-compose.yml").is_file() else HERE.parents[1]
    found = {
        Path("docker-compose.yml"): source / "docker-compose.yml",
        Path("Dockerfile"): HERE / "Dockerfile",
        Path(".dockerignore"): HERE / "dockerignore",
        Path(".gitignore"): HERE / "gitignore",
    }
    for path in sorted((source / "collector").rglob("*")):
        if path.is_file():
            found[path.relative_to(source)] = path
    return found


def init(directory: Path) -> Written:
    """Write the stack for a service of the user's own, and its passwords; nothing that exists is touched.

    Args:
        directory: Made if it is missing.

    Raises:
        OSError: A file cannot be written.
    """
    made: list[Path] = []
    kept: list[Path] = []
    for place, source in files().items():
        target = directory / place
        (made if _write(target, source.read_bytes(), source.stat().st_mode & 0o777) else kept).append(target)
    passwords = env(directory, {"APP_MODULE": "app:app"})
    return Written((*made, *passwords.made), (*kept, *passwords.kept))


def env(directory: Path, more: Mapping[str, str] | None = None) -> Written:
    """Write .env with new passwords, readable by its owner alone, unless there is one.

    Args:
        directory: Where docker-compose.yml is.
        more: Further variables to write into it.

    Raises:
        OSError: It cannot be written.
    """
    path = directory / ".env"
    made = _write(path, "".join([_HEAD, *_lines(more or {})]).encode(), 0o600)
    return Written((path,), ()) if made else Written((), (path,))


def _lines(more: Mapping[str, str]) -> Iterator[str]:
    values = {name: secrets.token_urlsafe(24) for name in PASSWORDS}
    login = f"collector:{values['COLLECTOR_ELASTICSEARCH_PASSWORD']}"
    values[_AUTHORIZATION] = f"Basic {base64.b64encode(login.encode()).decode()}"
    for name, value in {**more, **values}.items():
        yield f"{name}='{value}'\n" if " " in value else f"{name}={value}\n"


def _write(path: Path, content: bytes, mode: int) -> bool:
    """Write a file that is not there yet; whether it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Exclusive: neither a file nor a link that somebody else has just made is ever written to.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return True
