"""What is built of OpenSearch: its node with the modules that tests use, and a main class."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from tests.backends.components import Component

VERSION = "2.19.6"
LOG4J_VERSION = "2.25.4"

_SOURCE = Path(__file__).with_name("Engine.java")
_MODULES = (
    "org.opensearch:opensearch",
    "org.opensearch.plugin:analysis-common",
    "org.opensearch.plugin:lang-mustache-client",
    "org.opensearch.plugin:lang-painless",
    "org.opensearch.plugin:mapper-extras-client",
    "org.opensearch.plugin:parent-join-client",
    "org.opensearch.plugin:reindex-client",
    "org.opensearch.plugin:transport-netty4-client",
)
_LIBRARY = "bin/opensearch-lib"
# Small, quick to start, and alone: nothing here is about throughput.
_SCRIPT = f"""#!/bin/sh
here=$(dirname "$0")/{Path(_LIBRARY).name}
exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$here/classes:$here/jars/*" Engine "$@"
"""


def opensearch() -> Component:
    """Describe the build of OpenSearch from Maven Central."""
    dependencies = "".join(
        f"<dependency><groupId>{escape(group)}</groupId><artifactId>{escape(name)}</artifactId><version>{version}</version></dependency>"
        for group, name, version in [
            *((*module.split(":"), VERSION) for module in _MODULES),
            ("org.apache.logging.log4j", "log4j-core", LOG4J_VERSION),
        ]
    )
    return Component(
        name="opensearch",
        version=VERSION,
        go=None,
        programs=("opensearch", "opensearch-lib"),
        files={
            "pom.xml": (
                '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
                "<groupId>otel-search</groupId><artifactId>engine</artifactId><version>1</version>"
                f"<dependencies>{dependencies}</dependencies></project>\n"
            ),
            "Engine.java": _SOURCE.read_text(encoding="utf-8"),
            f"{_LIBRARY}/classes/META-INF/services/org.opensearch.core.xcontent.spi.MediaTypeProvider": "Engine$VendorTypes\n",
            "bin/opensearch": _SCRIPT,
        },
        steps=(
            ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={_LIBRARY}/jars"),
            ("javac", "-nowarn", "-cp", f"{_LIBRARY}/jars/*", "-d", f"{_LIBRARY}/classes", "Engine.java"),
            ("chmod", "+x", "bin/opensearch"),
        ),
    )
