"""Apache Kafka: one node, with broker and KRaft controller in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from .base import HOST, TIMEOUT, Service, free_port, run_tool, wait_until
from .cache import Run, made_once
from .certificates import Certificate, Tls
from .committed import Committed, committed
from .java import copy_jars, java_program
from .kafka_client import Admin, Consumer, KafkaError, Message, Producer, Producible

VERSION = "4.1.0"

# The last version that accepts SCRAM from a librdkafka before 2.6.1, whose nonce Kafka 4.0 and later reject.
OLDER_VERSION = "3.9.1"

_cluster = "4L6g3nShT-eMCtK--X86sw"  # any 16 bytes in base64; the prepared storage carries it
# At the default level one start writes a thousand lines, and the messages at shutdown hide the cause of a failure.
_logging = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info",
)
_scram = ("SCRAM-SHA-512", "SCRAM-SHA-256")
_own_group = "services"  # librdkafka requires a group; nothing is committed for this one
_first_probe = 0.5  # time-out in seconds
# These JVMs run for a short time: the optimizing compiler would cost more than it saves.
_quick_start = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class Kafka(Service):
    """A broker that does not create topics automatically.

    With `tls` there is a second listener, at `secure_brokers`: SASL_SSL if there are `users` (name and password,
    without commas; SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN), otherwise SSL. With `proxied`, a port of this machine and
    the port of a TcpProxy in front of it, there is a listener whose clients connect through the proxy, also to the
    partitions' leader: bootstrap with the proxy's port. `settings` are lines of server.properties.
    Messages of a deleted or expired segment are removed within a second or two, so that tests of retention need not
    wait. `java_options` replace the default options, which favour a quick start over throughput.
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
        proxied: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(port=port)
        self.tls = tls
        self._users = dict(users or {})
        self._version = version
        self._controller_port = free_port()
        self._secure_port = free_port()
        self._probe = _first_probe
        self._settings = dict(settings or {})
        self._proxied = proxied
        self._java_options = java_options

    @property
    def brokers(self) -> str:
        """The value for a client's bootstrap.servers."""
        return f"{HOST}:{self.port}"

    @property
    def secure_brokers(self) -> str:
        """The value for a client's bootstrap.servers, for the listener with TLS."""
        return f"{HOST}:{self._secure_port}"

    def offer(self, certificate: Certificate) -> None:
        """Present another certificate from the next start on."""
        # Kafka requires key and certificate in one file.
        text = certificate.key.read_text() + certificate.cert.read_text()
        (self.directory / "server.pem").write_text(text)

    # Topics

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, object] | None = None
    ) -> None:
        """Create a topic and wait until clients can use it."""
        admin = Admin(self.brokers)
        admin.create_topic(name, partitions, config or {})
        wait_until(lambda: admin.partitions().get(name) == partitions, f"leaders for topic {name}")

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until the broker's metadata no longer lists it."""
        admin = Admin(self.brokers)
        admin.delete_topic(name)
        wait_until(lambda: name not in admin.partitions(), f"the deletion of topic {name}")

    def add_partitions(self, name: str, total: int) -> None:
        """Add partitions to a topic, up to `total`, and wait until clients can use them."""
        admin = Admin(self.brokers)
        admin.add_partitions(name, total)
        wait_until(lambda: admin.partitions().get(name) == total, f"leaders for topic {name}")

    def topics(self) -> dict[str, int]:
        """Return the topics with their number of partitions."""
        return Admin(self.brokers).partitions()

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the records before the given offsets of the partitions, as retention would.

        This runs Kafka's own tool, because confluent-kafka 1.7, of Debian 12 and 13, cannot delete records.
        """
        places = [
            {"topic": topic, "partition": partition, "offset": offset}
            for partition, offset in before.items()
        ]
        request = self.directory / "delete-records.json"
        request.write_text(json.dumps({"version": 1, "partitions": places}))
        self._tool("DeleteRecordsCommand", "--offset-json-file", str(request))

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """Return the first offset that each partition still holds."""
        return {partition: low for partition, (low, _) in self._watermarks(topic).items()}

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the offset of the next message of each partition."""
        return {partition: high for partition, (_, high) in self._watermarks(topic).items()}

    # Messages

    def produce(
        self,
        topic: str,
        messages: Iterable[Producible],
        *,
        partition: int | None = None,
        config: Mapping[str, object] | None = None,
        timeout: float = TIMEOUT,
    ) -> int:
        """Produce messages, wait until the broker has acknowledged all of them, and return their number.

        A message is a value, a (key, value), or a Record with headers, partition and time. None as key or value is a
        null, which differs from b"". Without partition and key, messages are spread at random; with a partition they
        keep their order. `config` is librdkafka's configuration (compression.type, ...).
        """
        producer = Producer(self.brokers, config or {})
        return producer.produce(topic, messages, partition, timeout)

    def consume(
        self,
        topic: str,
        *,
        at_least: int = 0,
        timeout: float = TIMEOUT,
        config: Mapping[str, object] | None = None,
    ) -> list[Message]:
        """Return all committed messages of a topic. Wait until there are at least `at_least` messages."""
        partitions = self._partitions_of(topic)
        with Consumer(self.brokers, _own_group, config or {}) as consumer:
            return consumer.read(topic, partitions, at_least, timeout)

    # Groups

    def group_offsets(self, group: str) -> dict[tuple[str, int], Committed]:
        """Return a group's committed offsets and their metadata, by (topic, partition)."""
        partitions = [
            (topic, partition)
            for topic, count in self.topics().items()
            for partition in range(count)
        ]
        return committed(self.brokers, group, partitions)

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets by (topic, partition). The broker rejects the commit while the group has members."""
        with Consumer(self.brokers, group, {}) as consumer:
            consumer.commit(offsets)

    def reset_offsets(self, group: str, topic: str, *to: str) -> str:
        """Reset offsets with the standard tool, as an operator does.

        `to` is "--to-earliest", or "--shift-by", "-5" and so on; a topic may be "name:0,1". The broker rejects the
        reset while the group has members.
        """
        return self.group_tool(
            "--group", group, "--reset-offsets", "--topic", topic, *to, "--execute"
        )

    def group_tool(self, *arguments: str) -> str:
        """Run kafka-consumer-groups, and return its output."""
        return self._tool("consumer.group.ConsumerGroupCommand", *arguments)

    def _tool(self, name: str, *arguments: str) -> str:
        main = f"org.apache.kafka.tools.{name}"
        output = run_tool(
            [*self._java(_quick_start), main, "--bootstrap-server", self.brokers, *arguments]
        )
        if "error:" in output.lower():  # the tools exit with 0 even if they fail
            raise KafkaError(output.strip())
        return output

    # Service

    def _prepare(self) -> None:
        installed = _installation(self._version)
        data = self.directory / "data"
        settings = _server_settings(data, self.port, self._controller_port)
        settings |= {**self._secure_listener(settings), **self._proxied_listener(settings), **self._settings}
        _write_properties(self._properties, settings)
        if self._users:
            run_tool([*self._java(_quick_start), *_format(self._properties), *self._scram_users()])
        else:
            shutil.copytree(installed / "storage", data)

    def _scram_users(self) -> list[str]:
        """Return the options that create users with the cluster's metadata."""
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

    def _proxied_listener(self, plain: Mapping[str, str]) -> dict[str, str]:
        if not self._proxied:
            return {}
        port, advertised = self._proxied
        return {
            "listeners": f"{plain['listeners']},PROXIED://{HOST}:{port}",
            "advertised.listeners": f"{plain['advertised.listeners']},PROXIED://{HOST}:{advertised}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        }

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

    def _responds(self) -> bool:
        try:
            Admin(self.brokers).partitions(timeout=self._probe)
        except KafkaError:
            self._probe = min(self._probe * 1.2, 10)  # on a busy machine even a response takes long
            return False
        self._probe = _first_probe
        return True

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    def _watermarks(self, topic: str) -> dict[int, tuple[int, int]]:
        partitions = range(self._partitions_of(topic))
        with Consumer(self.brokers, _own_group, {}) as consumer:
            return {partition: consumer.watermarks(topic, partition) for partition in partitions}

    def _partitions_of(self, topic: str) -> int:
        """Return the number of partitions. A frozen broker lists no topics until its controller has registered it again."""
        try:
            return wait_until(lambda: self.topics().get(topic), f"topic {topic}", 60)
        except TimeoutError as error:
            raise KafkaError(f"topic {topic} does not exist") from error


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
        # After a kill the controller accepts a new broker with this number only when the session of the old one has
        # timed out: by default after nine seconds. A broker that is too slow for a shorter time is fenced, and its
        # topics have no leaders.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "300",
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
    """Return the folder with Kafka's jars and an empty formatted storage. The first call makes it."""
    # Change the name with the recipe; machines with the old folder would keep it otherwise.
    return made_once(f"kafka-{version}-1", partial(_install, version))


def _install(version: str, target: Path, run: Run) -> None:
    dependencies = (
        ("org.apache.kafka", "kafka_2.13", version),
        ("org.apache.kafka", "kafka-tools", version),
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    )
    copy_jars(dependencies, target / "jars", run)
    properties = target / "format.properties"
    # The storage contains neither ports nor paths, so all brokers can use a copy of it.
    _write_properties(properties, _server_settings(target / "storage", 9092, 9093))
    run([java_program(), "-cp", f"{target}/jars/*", *_format(properties)])


def _format(properties: Path) -> list[str]:
    return ["kafka.tools.StorageTool", "format", "-t", _cluster, "-c", str(properties)]


def _class_archive(version: str) -> Path:
    """Return an archive of the broker's classes that the JVM maps into memory, which makes a start a second faster.

    A JVM ignores an archive that another version has made.
    """
    make = partial(_archive_classes, version)
    return made_once(f"kafka-{version}-1-classes", make) / "classes.jsa"


def _archive_classes(version: str, target: Path, _: Run) -> None:
    archive = f"-XX:ArchiveClassesAtExit={target / 'classes.jsa'}"
    with Kafka(version=version, java_options=[*_quick_start, archive]) as kafka:
        kafka.create_topic("topic")
        kafka.produce("topic", [b"message"])
        kafka.consume("topic")
