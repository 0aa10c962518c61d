"""Alertmanager with a configuration that a test has rendered, and its API as far as tests read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.backends.server import Server, get_json

if TYPE_CHECKING:
    from pathlib import Path


class Alertmanager(Server):
    """An Alertmanager process that stands alone.

    Args:
        directory: Where its log and its data go.
        config: Its configuration.
    """

    program = "alertmanager"
    port_names = ("web",)

    def __init__(self, directory: Path, config: Path) -> None:
        super().__init__(directory)
        self._config = config

    def arguments(self) -> list[str]:
        """Return the command line after the program."""
        return [
            f"--config.file={self._config}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={self.address('web')}",
            "--cluster.listen-address=",
        ]

    def ready_url(self) -> str:
        """Return the URL that answers 200 once Alertmanager serves."""
        return f"http://{self.address('web')}/-/ready"

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it knows, as the API gives them."""
        found: list[dict[str, Any]] = get_json(f"http://{self.address('web')}/api/v2/alerts")
        return found
