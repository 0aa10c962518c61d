"""Where the service finds its search engine, from the environment."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

ELASTICSEARCH_URL = os.environ.get("ELASTICSEARCH_URL", "http://127.0.0.1:9200")
PRODUCTS_INDEX = os.environ.get("PRODUCTS_INDEX", "products")
ARCHIVE_INDEX = f"{PRODUCTS_INDEX}-archive"
"""What is no longer sold. Nobody has written a mapping for it, and that shows."""


def client_options() -> dict[str, Any]:
    """The arguments of the Elasticsearch client.

    `ELASTICSEARCH_API_KEY` is sent if set. `ELASTICSEARCH_NODE_CLASS` (`module:class`) replaces
    the client's HTTP node, for engines that speak the API but not every header of it.
    """
    options: dict[str, Any] = {"hosts": [ELASTICSEARCH_URL], "request_timeout": 30}
    if api_key := os.environ.get("ELASTICSEARCH_API_KEY"):
        options["api_key"] = api_key
    if node_class := os.environ.get("ELASTICSEARCH_NODE_CLASS"):
        module, _, name = node_class.partition(":")
        options["node_class"] = getattr(import_module(module), name)
    return options
