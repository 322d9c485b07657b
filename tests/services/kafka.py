"""Apache Kafka: one node, broker and KRaft controller in one process."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from .base import HOST, PATIENCE, Service, free_port, run_tool, wait_until
from .cache import Run, made_once
from .certificates import Certificate, Tls
from .java import copy_jars, java_program
from .rdkafka import Admin, Committed, Consumer, KafkaError, Message, Producer, Producible

VERSION = "4.1.0"

# The last one that lets in a librdkafka before 2.6.1 by SCRAM: that sends a nonce which Kafka refuses
# since 4.0.
OLDER_VERSION = "3.9.1"

_cluster = "4L6g3nShT-eMCtK--X86sw"  # any 16 bytes in base64; the prepared storage carries it
# Our JVMs are started far more often than they run long: the optimizing compiler costs a start more
# than it gives back.
# At its usual level a start alone writes a thousand lines, and an end buries what it died of.
_logging = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info",
)
_scram = ("SCRAM-SHA-512", "SCRAM-SHA-256")
_first_probe = 0.5  # seconds to wait for a sign of life
_quick_start = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class Kafka(Service):
    """A broker with topics made on demand only, on request.

    With `tls` there is another listener beside the plain one, at `secure_brokers`: SASL_SSL for
    `users` (name and password, without commas; SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN), or SSL where
    there are none.
    `settings` are lines of server.properties. Messages of a deleted or expired segment go within a
    second or two, so that tests of retention need not wait. `java_options` replace the ones for a
    quick start, where throughput counts more.
    """

    name = "kafka"

    def __init__(
        self,
        *,
        port: int | None = None,
        tls: Tls | None = None,
        users: Mapping[str, str] | None = None,
        version: str = VERSION,
        settings: Mapping[str, str] | None = None,
        java_options: Sequence[str] | None = None,
    ) -> None:
        super().__init__(port=port)
        self.tls = tls
        self._users = dict(users or {})
        self._version = version
        self._controller_port = free_port()
        self._secure_port = free_port()
        self._probe = _first_probe
        self._settings = dict(settings or {})
        self._java_options = java_options

    @property
    def brokers(self) -> str:
        """What a client calls bootstrap.servers."""
        return f"{HOST}:{self.port}"

    @property
    def secure_brokers(self) -> str:
        """The same, by TLS."""
        return f"{HOST}:{self._secure_port}"

    def offer(self, certificate: Certificate) -> None:
        """Shows another certificate from the next start on."""
        # Both in one file, as Kafka wants it.
        text = certificate.key.read_text() + certificate.cert.read_text()
        (self.directory / "server.pem").write_text(text)

    # Topics

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, object] | None = None
    ) -> None:
        """Creates a topic and waits until clients can use it."""
        with Admin(self.brokers) as admin:
            admin.create_topic(name, partitions, config or {})
            wait_until(
                lambda: admin.partitions().get(name) == partitions, f"leaders for topic {name}"
            )

    def delete_topic(self, name: str) -> None:
        """Deletes a topic and waits until it is gone from the broker's metadata."""
        with Admin(self.brokers) as admin:
            admin.delete_topic(name)
            wait_until(lambda: name not in admin.partitions(), f"topic {name} to be gone")

    def topics(self) -> dict[str, int]:
        """The topics with their number of partitions."""
        with Admin(self.brokers) as admin:
            return admin.partitions()

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Moves the beginning of partitions up to the given offsets, as retention would."""
        with Admin(self.brokers) as admin:
            admin.delete_records(topic, before)

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """The first offset that each partition still holds."""
        return {partition: low for partition, (low, _) in self._watermarks(topic).items()}

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset that each partition will give to its next message."""
        return {partition: high for partition, (_, high) in self._watermarks(topic).items()}

    # Messages

    def produce(
        self,
        topic: str,
        messages: Iterable[Producible],
        *,
        partition: int | None = None,
        config: Mapping[str, object] | None = None,
        timeout: float = PATIENCE,
    ) -> int:
        """Produces messages and returns their number once the broker has acknowledged them all.

        A message is a value, a (key, value), or a Record with headers, partition and time. None as
        key or value is a null, which is not the same as b"". Without partition or key messages
        spread at random; with a partition they keep their order. `config` is librdkafka's
        (compression.type, ...).
        """
        with Producer(self.brokers, config or {}) as producer:
            return producer.produce(topic, messages, partition, timeout)

    def consume(
        self,
        topic: str,
        *,
        at_least: int = 0,
        timeout: float = PATIENCE,
        config: Mapping[str, object] | None = None,
    ) -> list[Message]:
        """All committed messages of a topic; waits for more until there are `at_least` so many."""
        partitions = self._partitions_of(topic)
        with Consumer(self.brokers, "services-consume", config or {}) as consumer:
            return consumer.read(topic, partitions, at_least, timeout)

    # Groups

    def group_offsets(self, group: str) -> dict[tuple[str, int], Committed]:
        """What a group has committed, by (topic, partition): offset and metadata."""
        partitions = [
            (topic, partition)
            for topic, count in self.topics().items()
            for partition in range(count)
        ]
        with Consumer(self.brokers, group, {}) as consumer:
            return consumer.committed(partitions)

    def reset_offsets(self, group: str, topic: str, *to: str) -> str:
        """Resets offsets as an operator does, by the standard tool.

        `to` is "--to-earliest", or "--shift-by", "-5" and so on; a topic may be "name:0,1". The
        broker refuses it while the group has members.
        """
        return self.group_tool(
            "--group", group, "--reset-offsets", "--topic", topic, *to, "--execute"
        )

    def group_tool(self, *arguments: str) -> str:
        """Runs kafka-consumer-groups, and gives what it prints."""
        main = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
        output = run_tool(
            [*self._java(_quick_start), main, "--bootstrap-server", self.brokers, *arguments]
        )
        if "Error:" in output:  # it exits with 0 all the same
            raise KafkaError(output.strip())
        return output

    # Service

    def _prepare(self) -> None:
        installed = _installation(self._version)
        data = self.directory / "data"
        settings = _server_settings(data, self.port, self._controller_port)
        settings |= {**self._secure_listener(settings), **self._settings}
        _write_properties(self._properties, settings)
        if self._users:
            run_tool([*self._java(_quick_start), *_format(self._properties), *self._scram_users()])
        else:
            shutil.copytree(installed / "storage", data)

    def _scram_users(self) -> list[str]:
        """Users are part of a cluster's metadata; the first are made with it."""
        words: list[str] = []
        for mechanism in _scram:
            for name, password in self._users.items():
                words += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        return words

    def _secure_listener(self, plain: Mapping[str, str]) -> dict[str, str]:
        if not self.tls:
            return {}
        self.offer(self.tls.certificate)
        address = f"SECURE://{HOST}:{self._secure_port}"
        protocol = "SASL_SSL" if self._users else "SSL"
        settings = {
            "listeners": f"{plain['listeners']},{address}",
            "advertised.listeners": f"{plain['advertised.listeners']},{address}",
            "listener.security.protocol.map": (
                f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:{protocol}"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.directory / "server.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.tls.authority.ca),
            "listener.name.secure.ssl.client.auth": "required" if self.tls.own else "none",
        }
        return settings | (self._logins() if self._users else {})

    def _logins(self) -> dict[str, str]:
        modules = "org.apache.kafka.common.security"
        users = "".join(f' user_{name}="{password}"' for name, password in self._users.items())
        plain = f"{modules}.plain.PlainLoginModule required{users};"
        scram = f"{modules}.scram.ScramLoginModule required;"
        listener = "listener.name.secure"
        return {
            f"{listener}.sasl.enabled.mechanisms": ",".join((*_scram, "PLAIN")),
            f"{listener}.plain.sasl.jaas.config": plain,
            **{f"{listener}.{name.lower()}.sasl.jaas.config": scram for name in _scram},
        }

    def _command(self) -> Sequence[str | Path]:
        options = self._java_options
        if options is None:
            options = [*_quick_start, f"-XX:SharedArchiveFile={_class_archive(self._version)}"]
        return [*self._java(["-Xmx1g", *options]), "kafka.Kafka", self._properties]

    def _java(self, options: Sequence[str]) -> list[str]:
        jars = f"{_installation(self._version)}/jars/*"
        return [java_program(), *_logging, *options, "-cp", jars]

    def _answers(self) -> bool:
        try:
            with Admin(self.brokers) as admin:
                admin.partitions(timeout=self._probe)
        except KafkaError:
            self._probe = min(self._probe * 1.2, 10)  # on a busy machine even an answer takes its time
            return False
        self._probe = _first_probe
        return True

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    def _watermarks(self, topic: str) -> dict[int, tuple[int, int]]:
        with Admin(self.brokers) as admin:
            partitions = range(self._partitions_of(topic))
            return {partition: admin.watermarks(topic, partition) for partition in partitions}

    def _partitions_of(self, topic: str) -> int:
        topics = self.topics()
        if topic not in topics:
            raise KafkaError(f"there is no topic {topic}")
        return topics[topic]


def _server_settings(data: Path, port: int, controller_port: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        # After a kill the controller still knows a live broker of this number, and lets the new one
        # in when that one's session has timed out: by default nine seconds.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "200",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "500",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "log.initial.task.delay.ms": "1000",
        "log.retention.check.interval.ms": "1000",
        "log.segment.delete.delay.ms": "1000",
        "log.cleaner.backoff.ms": "1000",
    }


def _write_properties(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def _installation(version: str) -> Path:
    """Kafka's jars and an empty formatted storage, made at the first call."""
    # A change of the recipe needs another name, or machines with the old one would keep it.
    return made_once(f"kafka-{version}-1", partial(_install, version))


def _install(version: str, target: Path, run: Run) -> None:
    dependencies = (
        ("org.apache.kafka", "kafka_2.13", version),
        ("org.apache.kafka", "kafka-tools", version),
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    )
    copy_jars(dependencies, target / "jars", run)
    properties = target / "format.properties"
    # Nothing of the ports or the place is stored, so one formatting serves all.
    _write_properties(properties, _server_settings(target / "storage", 9092, 9093))
    run([java_program(), "-cp", f"{target}/jars/*", *_format(properties)])


def _format(properties: Path) -> list[str]:
    return ["kafka.tools.StorageTool", "format", "-t", _cluster, "-c", str(properties)]


def _class_archive(version: str) -> Path:
    """The classes of a running broker in the form the JVM maps into memory: starts a second sooner.

    A JVM that finds the archive made by another version goes without it.
    """
    make = partial(_archive_classes, version)
    return made_once(f"kafka-{version}-1-classes", make) / "classes.jsa"


def _archive_classes(version: str, target: Path, _: Run) -> None:
    archive = f"-XX:ArchiveClassesAtExit={target / 'classes.jsa'}"
    with Kafka(version=version, java_options=[*_quick_start, archive]) as kafka:
        kafka.create_topic("topic")
        kafka.produce("topic", [b"message"])
        kafka.consume("topic")
