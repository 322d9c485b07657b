"""Kafka clients, through confluent-kafka, which uses librdkafka.

Each task creates a new client. Creating a client takes milliseconds, whereas an existing one may have to wait for its
back-off after the broker was down.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from .base import ServiceError, wait_until

Headers = tuple[tuple[str, bytes | None], ...]


class KafkaError(ServiceError):
    """The broker, or librdkafka, rejected a request."""


class Record(NamedTuple):
    """A message to produce. A value of None is a tombstone; without a partition, the key determines it."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


Producible = bytes | str | None | tuple[bytes | str | None, bytes | str | None] | Record


class Message(NamedTuple):
    """A consumed message."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


_any_partition = -1
_queue_limit = 200_000
_batch = 10_000
# The metadata lists a topic and its leader before the broker itself knows them.
_leaderless = (
    confluent_kafka.KafkaError.LEADER_NOT_AVAILABLE,
    confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION,
    confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
)


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except confluent_kafka.KafkaException as error:
        raise KafkaError(f"{doing}: {error.args[0].str()}") from error


def _configuration(brokers: str, *parts: Mapping[str, object]) -> dict[str, str | bool]:
    settings: dict[str, object] = {"bootstrap.servers": brokers, "log_level": 0}
    for part in parts:
        settings |= part
    # This option belongs to confluent-kafka, which accepts it only as bool.
    return {key: value if isinstance(value, bool) else str(value) for key, value in settings.items()}


class Producer:
    """Produces in bulk, and reports messages that were not delivered."""

    def __init__(self, brokers: str, config: Mapping[str, object]) -> None:
        defaults = {
            "enable.idempotence": "true",
            "linger.ms": 5,
            "queue.buffering.max.messages": _queue_limit,
            "queue.buffering.max.kbytes": 2_097_151,
            "delivery.report.only.error": True,
            # Spread messages without a key evenly instead of in long runs.
            "sticky.partitioning.linger.ms": 0,
            "message.max.bytes": 100_000_000,
            # Report a missing topic immediately.
            "topic.metadata.propagation.max.ms": 1000,
        }
        self._failure = ""
        with _errors("produce"):
            settings = _configuration(brokers, defaults, config)
            self._producer = confluent_kafka.Producer(
                {**settings, "on_delivery": self._on_delivery}
            )

    def produce(
        self, topic: str, messages: Iterable[Producible], partition: int | None, timeout: float
    ) -> int:
        where = _any_partition if partition is None else partition
        count = 0
        with _errors("produce"):
            for message in messages:
                while not self._accepts(topic, message, where):
                    self._producer.poll(0.005)
                    self._raise_failure()
                count += 1
        self._flush(timeout)
        return count

    def _accepts(self, topic: str, message: Producible, where: int) -> bool:
        """Queue a message; return False if the queue is full."""
        produce = self._producer.produce
        try:
            if isinstance(message, Record):
                chosen = where if message.partition is None else message.partition
                produce(
                    topic,
                    message.value,
                    message.key,
                    partition=chosen,
                    timestamp=message.timestamp_ms or 0,
                    headers=list(message.headers),
                )
            else:
                key, value = message if isinstance(message, tuple) else (None, message)
                produce(topic, value, key, partition=where)
        except BufferError:
            return False
        return True

    def _flush(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._producer.flush(0.1):
            self._raise_failure()
            if time.monotonic() > deadline:
                raise KafkaError(f"produce: not all messages were delivered within {timeout:g} s")
        self._raise_failure()

    def _on_delivery(
        self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message
    ) -> None:
        if error is not None:
            self._failure = self._failure or error.str()

    def _raise_failure(self) -> None:
        if self._failure:
            raise KafkaError(f"produce: {self._failure}")


class Admin:
    """Creates, deletes and lists topics."""

    def __init__(self, brokers: str) -> None:
        self._client = AdminClient(_configuration(brokers))

    def partitions(self, timeout: float = 60.0) -> dict[str, int]:
        """Return the number of partitions of each topic whose partitions all have a leader."""
        with _errors("metadata"):
            topics = self._client.list_topics(timeout=timeout).topics
        return {
            name: len(topic.partitions)
            for name, topic in topics.items()
            if all(partition.leader >= 0 for partition in topic.partitions.values())
        }

    def create_topic(self, name: str, partitions: int, config: Mapping[str, object]) -> None:
        settings = {key: str(value) for key, value in config.items()}
        topic = NewTopic(
            name, num_partitions=partitions, replication_factor=1, config=settings
        )
        with _errors(f"create topic {name}"):
            self._client.create_topics([topic])[name].result()

    def add_partitions(self, name: str, total: int) -> None:
        with _errors(f"add partitions to topic {name}"):
            self._client.create_partitions([NewPartitions(name, total)])[name].result()

    def delete_topic(self, name: str) -> None:
        with _errors(f"delete topic {name}"):
            self._client.delete_topics([name])[name].result()


class Consumer:
    """Reads partitions and offsets without joining a group."""

    def __init__(self, brokers: str, group: str, config: Mapping[str, object]) -> None:
        defaults = {
            "group.id": group,
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "queued.min.messages": 1_000_000,
        }
        with _errors("consume"):
            self._consumer = confluent_kafka.Consumer(_configuration(brokers, defaults, config))

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that is kept and the next one, as the leader reports them."""
        found: list[tuple[int, int]] = []

        def has_leader() -> bool:
            place = TopicPartition(topic, partition)
            try:
                found.append(self._consumer.get_watermark_offsets(place, timeout=60))
            except confluent_kafka.KafkaException as error:
                if error.args[0].code() not in _leaderless:
                    raise
            return bool(found)

        with _errors(f"offsets of {topic} [{partition}]"):
            wait_until(has_leader, f"a leader of {topic} [{partition}]")
        return found[0]

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets for the group, which must have no members."""
        places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        with _errors("commit"):
            self._consumer.commit(offsets=places, asynchronous=False)

    def read(self, topic: str, partitions: int, at_least: int, timeout: float) -> list[Message]:
        """Read from the beginning to the end, and further until there are `at_least` messages."""
        unfinished = set(range(partitions))
        start = confluent_kafka.OFFSET_BEGINNING
        messages: list[Message] = []
        deadline = time.monotonic() + timeout
        with _errors("consume"):
            self._consumer.assign([TopicPartition(topic, number, start) for number in unfinished])
            while unfinished or len(messages) < at_least:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{topic}: {len(messages)} messages within {timeout:g} s, not {at_least}"
                    )
                for message in self._consumer.consume(_batch, 0.1):
                    self._take(message, messages, unfinished)
        return messages

    @staticmethod
    def _take(
        message: confluent_kafka.Message, messages: list[Message], unfinished: set[int]
    ) -> None:
        if error := message.error():
            if error.code() != confluent_kafka.KafkaError._PARTITION_EOF:
                raise KafkaError(f"consume: {error.str()}")
            unfinished.discard(message.partition())
            return
        headers = tuple(message.headers() or ())
        _, time_ms = message.timestamp()
        messages.append(
            Message(
                message.partition(), message.offset(), message.key(), message.value(), headers, time_ms
            )
        )
