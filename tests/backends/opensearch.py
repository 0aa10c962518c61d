"""OpenSearch as the search engine under test: it is not Elasticsearch, and official Elasticsearch clients speak to it."""

from __future__ import annotations

from tests.backends.server import Server


class OpenSearch(Server):
    """An OpenSearch node that stands alone, with an empty data directory."""

    program = "opensearch"
    port_names = ("http", "transport")

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://{self.address('http')}"

    def arguments(self) -> list[str]:
        """Return the command line after the program."""
        return [str(self.directory), str(self.ports["http"]), str(self.ports["transport"])]

    def ready_url(self) -> str:
        """Return the URL that answers 200 once the node is the elected one of its cluster."""
        return f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
