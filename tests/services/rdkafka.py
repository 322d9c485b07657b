"""Kafka's client side through librdkafka, which comes with kcat and with what is tested here.

kcat itself can't create topics, mix empty values with nulls, or give each message its own headers,
and the tools on the JVM take two seconds each.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from ctypes import (
    POINTER,
    Structure,
    Union,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_void_p,
)
from functools import cache
from itertools import accumulate, groupby, islice
from types import TracebackType
from typing import Any, NamedTuple, Self

from .base import ServiceError, wait_until

Headers = tuple[tuple[str, bytes | None], ...]


class KafkaError(ServiceError):
    """The broker, or librdkafka, refused something."""


class Record(NamedTuple):
    """A message to produce; a value of None is a tombstone, without a partition the key chooses."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


Producible = bytes | str | None | tuple[bytes | str | None, bytes | str | None] | Record


class Message(NamedTuple):
    """A message as it was read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


_PRODUCER, _CONSUMER = 0, 1
_ANY_PARTITION = -1
_COPY = 2
_BEGINNING = -2
_INVALID = -1001
_QUEUE_LIMIT = 200_000
_BATCH = 10_000
_END_OF_PARTITION = -191
_LEADERLESS = (5, 6)  # the metadata names a leader sooner than that one knows
_VT_TOPIC, _VT_PARTITION, _VT_VALUE, _VT_KEY = 1, 3, 4, 5
_VT_FLAGS, _VT_TIME, _VT_HEADER = 7, 8, 9


class _RawMessage(Structure):
    _fields_ = [
        ("err", c_int),
        ("topic", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("len", c_size_t),
        ("key", c_void_p),
        ("key_len", c_size_t),
        ("offset", c_int64),
        ("private", c_void_p),
    ]


# err, partition, payload, len, key, key_len, offset of a _RawMessage
_message_layout = struct.Struct("@i4x8xi4xPNPNq")


class _TopicPartition(Structure):
    _fields_ = [
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("private", c_void_p),
    ]


class _TopicPartitionList(Structure):
    _fields_ = [("count", c_int), ("size", c_int), ("items", POINTER(_TopicPartition))]


class _MetadataPartition(Structure):
    _fields_ = [
        ("id", c_int32),
        ("err", c_int),
        ("leader", c_int32),
        ("replica_count", c_int),
        ("replicas", c_void_p),
        ("isr_count", c_int),
        ("isrs", c_void_p),
    ]


class _MetadataTopic(Structure):
    _fields_ = [
        ("topic", c_char_p),
        ("partition_count", c_int),
        ("partitions", POINTER(_MetadataPartition)),
        ("err", c_int),
    ]


class _Metadata(Structure):
    _fields_ = [
        ("broker_count", c_int),
        ("brokers", c_void_p),
        ("topic_count", c_int),
        ("topics", POINTER(_MetadataTopic)),
        ("origin_id", c_int32),
        ("origin_name", c_char_p),
    ]


class _Memory(Structure):
    _fields_ = [("pointer", c_char_p), ("size", c_size_t)]


class _Header(Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p), ("size", c_ssize_t)]


class _ArgumentValue(Union):
    _fields_ = [
        ("text", c_char_p),
        ("int_", c_int),
        ("int32", c_int32),
        ("int64", c_int64),
        ("memory", _Memory),
        ("header", _Header),
        ("padding", c_char * 64),
    ]


class _Argument(Structure):
    _fields_ = [("type", c_int), ("value", _ArgumentValue)]


_OnDelivery = ctypes.CFUNCTYPE(None, c_void_p, POINTER(_RawMessage), c_void_p)
_ListPointer = POINTER(_TopicPartitionList)


@cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL("librdkafka.so.1")
    message = POINTER(_RawMessage)
    text_out = [c_char_p, c_size_t]
    for name, result, arguments in [
        ("conf_new", c_void_p, []),
        ("conf_set", c_int, [c_void_p, c_char_p, c_char_p, *text_out]),
        ("conf_destroy", None, [c_void_p]),
        ("conf_set_log_cb", None, [c_void_p, c_void_p]),
        ("conf_set_dr_msg_cb", None, [c_void_p, _OnDelivery]),
        ("new", c_void_p, [c_int, c_void_p, *text_out]),
        ("destroy", None, [c_void_p]),
        ("err2str", c_char_p, [c_int]),
        ("poll", c_int, [c_void_p, c_int]),
        ("flush", c_int, [c_void_p, c_int]),
        ("topic_new", c_void_p, [c_void_p, c_char_p, c_void_p]),
        ("topic_destroy", None, [c_void_p]),
        ("produce_batch", c_int, [c_void_p, c_int32, c_int, message, c_int]),
        ("outq_len", c_int, [c_void_p]),
        ("produceva", c_void_p, [c_void_p, POINTER(_Argument), c_size_t]),
        ("error_code", c_int, [c_void_p]),
        ("error_destroy", None, [c_void_p]),
        ("metadata", c_int, [c_void_p, c_int, c_void_p, POINTER(POINTER(_Metadata)), c_int]),
        ("metadata_destroy", None, [POINTER(_Metadata)]),
        (
            "query_watermark_offsets",
            c_int,
            [c_void_p, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64), c_int],
        ),
        ("topic_partition_list_new", _ListPointer, [c_int]),
        ("topic_partition_list_add", POINTER(_TopicPartition), [_ListPointer, c_char_p, c_int32]),
        ("topic_partition_list_destroy", None, [_ListPointer]),
        ("committed", c_int, [c_void_p, _ListPointer, c_int]),
        ("assign", c_int, [c_void_p, _ListPointer]),
        ("queue_get_consumer", c_void_p, [c_void_p]),
        (
            "consume_batch_queue",
            c_ssize_t,
            [c_void_p, c_int, POINTER(c_void_p), c_size_t],
        ),
        ("consumer_close", c_int, [c_void_p]),
        ("poll_set_consumer", c_int, [c_void_p]),
        ("message_destroy", None, [c_void_p]),
        ("message_timestamp", c_int64, [c_void_p, c_void_p]),
        ("message_headers", c_int, [c_void_p, POINTER(c_void_p)]),
        (
            "header_get_all",
            c_int,
            [c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_void_p), POINTER(c_size_t)],
        ),
        ("queue_new", c_void_p, [c_void_p]),
        ("queue_destroy", None, [c_void_p]),
        ("queue_poll", c_void_p, [c_void_p, c_int]),
        ("event_destroy", None, [c_void_p]),
        ("event_error", c_int, [c_void_p]),
        ("event_error_string", c_char_p, [c_void_p]),
        ("NewTopic_new", c_void_p, [c_char_p, c_int, c_int, *text_out]),
        ("NewTopic_set_config", c_int, [c_void_p, c_char_p, c_char_p]),
        ("NewTopic_destroy", None, [c_void_p]),
        ("CreateTopics", None, [c_void_p, POINTER(c_void_p), c_size_t, c_void_p, c_void_p]),
        ("CreateTopics_result_topics", POINTER(c_void_p), [c_void_p, POINTER(c_size_t)]),
        ("DeleteTopic_new", c_void_p, [c_char_p]),
        ("DeleteTopic_destroy", None, [c_void_p]),
        ("DeleteTopics", None, [c_void_p, POINTER(c_void_p), c_size_t, c_void_p, c_void_p]),
        ("DeleteTopics_result_topics", POINTER(c_void_p), [c_void_p, POINTER(c_size_t)]),
        ("topic_result_error", c_int, [c_void_p]),
        ("topic_result_error_string", c_char_p, [c_void_p]),
        ("DeleteRecords_new", c_void_p, [_ListPointer]),
        ("DeleteRecords_destroy", None, [c_void_p]),
        ("DeleteRecords", None, [c_void_p, POINTER(c_void_p), c_size_t, c_void_p, c_void_p]),
        ("DeleteRecords_result_offsets", _ListPointer, [c_void_p]),
    ]:
        function = getattr(lib, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


def _why(code: int) -> str:
    return str(_library().rd_kafka_err2str(code).decode())


def _check(code: int, doing: str) -> None:
    if code:
        raise KafkaError(f"{doing}: {_why(code)}")


def _encode(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _batches(messages: Iterable[Producible]) -> Iterator[tuple[bool, list[Producible]]]:
    """Runs of messages of one kind, records or not, in pieces that are not too large."""
    for records, run in groupby(messages, lambda message: isinstance(message, Record)):
        while batch := list(islice(run, _BATCH)):
            yield records, batch


class _Column:
    """Byte strings, one behind the other, with their addresses; None has the address 0."""

    def __init__(self, items: list[bytes | None]) -> None:
        self._kept = b"".join(item for item in items if item is not None)
        base = ctypes.cast(c_char_p(self._kept), c_void_p).value or 0
        self.sizes = array("Q", [0 if item is None else len(item) for item in items])
        ends = accumulate(self.sizes, initial=base)
        self.addresses = array(
            "Q", [0 if item is None else end for item, end in zip(items, ends, strict=False)]
        )


class _Client:
    """A librdkafka handle. Each task takes a new one: it costs milliseconds, and has no memory of a
    broker that was down a moment ago, for which an old one would wait out its back-off."""

    def __init__(self, kind: int, brokers: str, config: Mapping[str, object]) -> None:
        self._lib = lib = _library()
        error = ctypes.create_string_buffer(512)
        conf = lib.rd_kafka_conf_new()
        lib.rd_kafka_conf_set_log_cb(conf, None)
        try:
            for key, value in {"bootstrap.servers": brokers, **config}.items():
                if lib.rd_kafka_conf_set(conf, key.encode(), str(value).encode(), error, 512):
                    raise KafkaError(error.value.decode())
            self._configure(conf)
            self.handle = lib.rd_kafka_new(kind, conf, error, 512)
            if not self.handle:
                raise KafkaError(error.value.decode())
        except KafkaError:
            lib.rd_kafka_conf_destroy(conf)
            raise

    def _configure(self, conf: int) -> None:
        pass

    def close(self) -> None:
        if self.handle:
            self._lib.rd_kafka_destroy(self.handle)
            self.handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _partitions(self, offsets: Mapping[tuple[str, int], int]) -> Iterator[Any]:
        """librdkafka's list of (topic, partition, offset)."""
        partitions = self._lib.rd_kafka_topic_partition_list_new(len(offsets))
        try:
            for (topic, partition), offset in offsets.items():
                item = self._lib.rd_kafka_topic_partition_list_add(
                    partitions, topic.encode(), partition
                )
                item.contents.offset = offset
            yield partitions
        finally:
            self._lib.rd_kafka_topic_partition_list_destroy(partitions)


class Producer(_Client):
    """Produces in bulk, and speaks up about each message that did not arrive."""

    def __init__(self, brokers: str, config: Mapping[str, object]) -> None:
        self._failure = ""
        self._on_delivery = _OnDelivery(self._delivered)
        defaults = {
            "enable.idempotence": "true",
            "linger.ms": 5,
            "queue.buffering.max.messages": _QUEUE_LIMIT,
            "queue.buffering.max.kbytes": 2_097_151,
            "delivery.report.only.error": "true",
            # Messages without a key spread evenly instead of in long runs.
            "sticky.partitioning.linger.ms": 0,
            "message.max.bytes": 100_000_000,
            # A topic that is not there is an error, not something to wait for.
            "topic.metadata.propagation.max.ms": 1000,
        }
        super().__init__(_PRODUCER, brokers, {**defaults, **config})

    def _configure(self, conf: int) -> None:
        self._lib.rd_kafka_conf_set_dr_msg_cb(conf, self._on_delivery)

    def _delivered(self, handle: int, message: Any, opaque: int) -> None:
        self._failure = self._failure or _why(message.contents.err)

    def produce(
        self, topic: str, messages: Iterable[Producible], partition: int | None, timeout: float
    ) -> int:
        handle = self._lib.rd_kafka_topic_new(self.handle, topic.encode(), None)
        where = _ANY_PARTITION if partition is None else partition
        count = 0
        try:
            for records, batch in _batches(messages):
                self._wait_for_room(len(batch))
                if records:
                    self._send_records(topic, batch, where)
                else:
                    self._send_pairs(handle, batch, where)
                count += len(batch)
            self._flush(timeout)
        finally:
            self._lib.rd_kafka_topic_destroy(handle)
        return count

    def _send_pairs(self, handle: int, batch: list[Any], where: int) -> None:
        """Hands over keys and values as columns: a call for each message takes twice as long."""
        pairs = [pair if isinstance(pair, tuple) else (None, pair) for pair in batch]
        keys = _Column([_encode(key) for key, _ in pairs])
        values = _Column([_encode(value) for _, value in pairs])
        table = array("Q", bytes(len(pairs) * ctypes.sizeof(_RawMessage)))
        words = ctypes.sizeof(_RawMessage) // table.itemsize
        for name, column in [
            ("payload", values.addresses),
            ("len", values.sizes),
            ("key", keys.addresses),
            ("key_len", keys.sizes),
        ]:
            table[getattr(_RawMessage, name).offset // table.itemsize :: words] = column
        address, _ = table.buffer_info()
        rows = (_RawMessage * len(pairs)).from_address(address)
        taken = self._lib.rd_kafka_produce_batch(handle, where, _COPY, rows, len(pairs))
        if taken != len(pairs):
            _check(next(row.err for row in rows if row.err), "produce")

    def _send_records(self, topic: str, batch: list[Any], where: int) -> None:
        for record in batch:
            arguments = self._arguments(topic, record, where)
            error = self._lib.rd_kafka_produceva(self.handle, arguments, len(arguments))
            if error:
                code = self._lib.rd_kafka_error_code(error)
                self._lib.rd_kafka_error_destroy(error)
                _check(code, "produce")

    def _wait_for_room(self, messages: int) -> None:
        """No queue gets full: a message that it refused could come after its successor."""
        while self._lib.rd_kafka_outq_len(self.handle) + messages > _QUEUE_LIMIT:
            self._lib.rd_kafka_poll(self.handle, 5)
            self._raise_failure()

    @staticmethod
    def _arguments(topic: str, record: Record, where: int) -> ctypes.Array[_Argument]:
        size = 0 if record.value is None else len(record.value)
        key_size = 0 if record.key is None else len(record.key)
        chosen = where if record.partition is None else record.partition
        values: list[tuple[int, str, object]] = [
            (_VT_TOPIC, "text", topic.encode()),
            (_VT_PARTITION, "int32", chosen),
            (_VT_FLAGS, "int_", _COPY),
            (_VT_VALUE, "memory", _Memory(record.value, size)),
            (_VT_KEY, "memory", _Memory(record.key, key_size)),
        ]
        if record.timestamp_ms is not None:
            values.append((_VT_TIME, "int64", record.timestamp_ms))
        for name, content in record.headers:
            header = _Header(name.encode(), content, 0 if content is None else len(content))
            values.append((_VT_HEADER, "header", header))
        arguments = (_Argument * len(values))()
        for argument, (type_, field, value) in zip(arguments, values, strict=True):
            argument.type = type_
            setattr(argument.value, field, value)
        return arguments

    def _flush(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._lib.rd_kafka_flush(self.handle, 100):
            self._raise_failure()
            if time.monotonic() > deadline:
                raise KafkaError(f"produce: not all was delivered within {timeout:g} s")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise KafkaError(f"produce: {self._failure}")


class Admin(_Client):
    """Topics and offsets, in milliseconds where the standard tools take seconds."""

    def __init__(self, brokers: str) -> None:
        super().__init__(_PRODUCER, brokers, {})

    def partitions(self, timeout: float = 60.0) -> dict[str, int]:
        """The topics whose partitions all have a leader, with their number of partitions."""
        pointer = POINTER(_Metadata)()
        milliseconds = int(timeout * 1000)
        code = self._lib.rd_kafka_metadata(self.handle, 1, None, byref(pointer), milliseconds)
        _check(code, "metadata")
        try:
            found = pointer.contents
            topics = [found.topics[index] for index in range(found.topic_count)]
            return {
                topic.topic.decode(): topic.partition_count
                for topic in topics
                if all(topic.partitions[n].leader >= 0 for n in range(topic.partition_count))
            }
        finally:
            self._lib.rd_kafka_metadata_destroy(pointer)

    def create_topic(self, name: str, partitions: int, config: Mapping[str, object]) -> None:
        error = ctypes.create_string_buffer(512)
        topic = self._lib.rd_kafka_NewTopic_new(name.encode(), partitions, 1, error, 512)
        if not topic:
            raise KafkaError(f"create topic {name}: {error.value.decode()}")
        try:
            for key, value in config.items():
                code = self._lib.rd_kafka_NewTopic_set_config(
                    topic, key.encode(), str(value).encode()
                )
                _check(code, f"create topic {name}: {key}")
            with self._requested("CreateTopics", topic) as event:
                self._check_topics("CreateTopics", event, f"create topic {name}")
        finally:
            self._lib.rd_kafka_NewTopic_destroy(topic)

    def delete_topic(self, name: str) -> None:
        topic = self._lib.rd_kafka_DeleteTopic_new(name.encode())
        try:
            with self._requested("DeleteTopics", topic) as event:
                self._check_topics("DeleteTopics", event, f"delete topic {name}")
        finally:
            self._lib.rd_kafka_DeleteTopic_destroy(topic)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        offsets = {(topic, partition): offset for partition, offset in before.items()}
        with self._partitions(offsets) as partitions:
            request = self._lib.rd_kafka_DeleteRecords_new(partitions)
        try:
            with self._requested("DeleteRecords", request) as event:
                done = self._lib.rd_kafka_DeleteRecords_result_offsets(event).contents
                for index in range(done.count):
                    _check(done.items[index].err, f"delete records of {topic}")
        finally:
            self._lib.rd_kafka_DeleteRecords_destroy(request)

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is kept and the next that will be given, as the leader says."""
        low, high = c_int64(), c_int64()

        def answered() -> bool:
            code = self._lib.rd_kafka_query_watermark_offsets(
                self.handle, topic.encode(), partition, byref(low), byref(high), 60_000
            )
            if code in _LEADERLESS:
                return False
            _check(code, f"offsets of {topic} [{partition}]")
            return True

        wait_until(answered, f"a leader of {topic} [{partition}]")
        return low.value, high.value

    @contextlib.contextmanager
    def _requested(self, request: str, item: int) -> Iterator[int]:
        """Sends an admin request about one thing, and gives the answering event."""
        lib = self._lib
        queue = lib.rd_kafka_queue_new(self.handle)
        event = None
        try:
            things = (c_void_p * 1)(item)
            getattr(lib, f"rd_kafka_{request}")(self.handle, things, 1, None, queue)
            event = lib.rd_kafka_queue_poll(queue, 60_000)
            if not event:
                raise KafkaError(f"{request}: no answer")
            if lib.rd_kafka_event_error(event):
                raise KafkaError(f"{request}: {lib.rd_kafka_event_error_string(event).decode()}")
            yield event
        finally:
            if event:
                lib.rd_kafka_event_destroy(event)
            lib.rd_kafka_queue_destroy(queue)

    def _check_topics(self, request: str, event: int, doing: str) -> None:
        count = c_size_t()
        topics = getattr(self._lib, f"rd_kafka_{request}_result_topics")(event, byref(count))
        for index in range(count.value):
            if self._lib.rd_kafka_topic_result_error(topics[index]):
                why = self._lib.rd_kafka_topic_result_error_string(topics[index])
                raise KafkaError(f"{doing}: {why.decode()}")


class Committed(NamedTuple):
    """What a group committed for a partition."""

    offset: int
    metadata: bytes


class Consumer(_Client):
    """Reads partitions, or what a group committed, without joining any group."""

    def __init__(self, brokers: str, group: str, config: Mapping[str, object]) -> None:
        defaults = {
            "group.id": group,
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "queued.min.messages": 1_000_000,
        }
        super().__init__(_CONSUMER, brokers, {**defaults, **config})
        self._lib.rd_kafka_poll_set_consumer(self.handle)

    def close(self) -> None:
        if self.handle:
            self._lib.rd_kafka_consumer_close(self.handle)
        super().close()

    def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        """The committed offsets, of those partitions that have one."""
        with self._partitions(dict.fromkeys(partitions, _INVALID)) as offsets:
            _check(self._lib.rd_kafka_committed(self.handle, offsets, 30_000), "committed offsets")
            items = [offsets.contents.items[index] for index in range(offsets.contents.count)]
            return {
                (item.topic.decode(), item.partition): Committed(
                    item.offset, ctypes.string_at(item.metadata or b"", item.metadata_size)
                )
                for item in items
                if item.offset >= 0
            }

    def read(self, topic: str, partitions: int, at_least: int, timeout: float) -> list[Message]:
        """All messages from the beginning to the end, and on until there are `at_least` so many."""
        start = {(topic, partition): _BEGINNING for partition in range(partitions)}
        with self._partitions(start) as assignment:
            _check(self._lib.rd_kafka_assign(self.handle, assignment), "assign")
        queue = self._lib.rd_kafka_queue_get_consumer(self.handle)
        try:
            return self._read(queue, topic, set(range(partitions)), at_least, timeout)
        finally:
            self._lib.rd_kafka_queue_destroy(queue)

    def _read(
        self, queue: int, topic: str, unfinished: set[int], at_least: int, timeout: float
    ) -> list[Message]:
        deadline = time.monotonic() + timeout
        messages: list[Message] = []
        batch = (c_void_p * _BATCH)()
        while unfinished or len(messages) < at_least:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{topic}: {len(messages)} messages within {timeout:g} s, not {at_least}"
                )
            count = self._lib.rd_kafka_consume_batch_queue(queue, 100, batch, _BATCH)
            for address in batch[: max(0, count)]:
                self._take(address or 0, messages, unfinished)
        return messages

    def _take(self, address: int, messages: list[Message], unfinished: set[int]) -> None:
        # Unpacked at once: eight accesses through ctypes would take several times as long.
        raw = ctypes.string_at(address, _message_layout.size)
        code, partition, payload, size, key, key_size, offset = _message_layout.unpack(raw)
        try:
            if code == _END_OF_PARTITION:
                unfinished.discard(partition)
                return
            _check(code, "consume")
            key_bytes, value = _bytes_at(key, key_size), _bytes_at(payload, size)
            time_ms = self._lib.rd_kafka_message_timestamp(address, None)
            headers = self._headers(address)
            messages.append(Message(partition, offset, key_bytes, value, headers, time_ms))
        finally:
            self._lib.rd_kafka_message_destroy(address)

    def _headers(self, address: int) -> Headers:
        headers = c_void_p()
        if self._lib.rd_kafka_message_headers(address, byref(headers)):
            return ()
        name, value, size = c_char_p(), c_void_p(), c_size_t()
        found: list[tuple[str, bytes | None]] = []
        while not self._lib.rd_kafka_header_get_all(
            headers, len(found), byref(name), byref(value), byref(size)
        ):
            found.append(((name.value or b"").decode(), _bytes_at(value.value, size.value)))
        return tuple(found)


def _bytes_at(address: int | None, size: int) -> bytes | None:
    return None if not address else ctypes.string_at(address, size)
