"""One Kafka broker that is its own controller, on loopback, with an empty data directory."""

from __future__ import annotations

import socket

from tests.backends.server import Server

PARTITIONS = 4

_CONFIGURATION = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
num.partitions={partitions}
# One broker is all there is, and nobody wants to wait for others.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class Kafka(Server):
    """A broker that makes topics when they are first written to."""

    program = "kafka"
    port_names = ("broker", "controller")

    def arguments(self) -> list[str]:
        """Return the command line after the program, and write the configuration that it reads."""
        text = _CONFIGURATION.format(
            broker=self.address("broker"), controller=self.address("controller"), partitions=PARTITIONS
        )
        (self.directory / "server.properties").write_text(text, encoding="utf-8")
        return []

    def ready_url(self) -> str:
        """Return nothing: Kafka speaks no HTTP."""
        return ""

    def is_ready(self) -> bool:
        """Whether the broker's port is open, which is the last thing that it does when it starts."""
        with socket.create_connection(("127.0.0.1", self.ports["broker"]), timeout=1):
            return True

    def stored(self, topic: str) -> dict[int, int]:
        """Return the size in bytes of each partition of a topic that has one."""
        sizes = {}
        for directory in (self.directory / "data").glob(f"{topic}-*"):
            sizes[int(directory.name.rpartition("-")[2])] = sum(file.stat().st_size for file in directory.glob("*.log"))
        return sizes
