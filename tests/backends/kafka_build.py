"""What is built of Kafka: the broker's jars, and a script that starts one broker on loopback."""

from __future__ import annotations

from tests.backends.components import Component

VERSION = "4.4.0"
SCALA = "2.13"

_LIBRARY = "bin/kafka-lib"
# A cluster id is needed and says nothing: each directory is a cluster of its own.
_SCRIPT = """#!/bin/sh
here=$(dirname "$0")/kafka-lib
run() { exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=WARN -cp "$here/*" "$@"; }
[ -f data/meta.properties ] || (run kafka.tools.StorageTool format -t otel-search-otel-search -c server.properties) || exit 1
run kafka.Kafka server.properties
"""


def kafka() -> Component:
    """Describe the build of Kafka from Maven Central."""
    return Component(
        name="kafka",
        version=VERSION,
        go=None,
        programs=("kafka", "kafka-lib"),
        files={
            "pom.xml": (
                '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
                "<groupId>otel-search</groupId><artifactId>broker</artifactId><version>1</version><dependencies><dependency>"
                f"<groupId>org.apache.kafka</groupId><artifactId>kafka_{SCALA}</artifactId><version>{VERSION}</version>"
                "</dependency></dependencies></project>\n"
            ),
            "bin/kafka": _SCRIPT,
        },
        steps=(
            ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={_LIBRARY}"),
            ("chmod", "+x", "bin/kafka"),
        ),
    )
