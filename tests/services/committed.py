"""Committed offsets of a consumer group, with their metadata.

The module calls librdkafka by ctypes: confluent-kafka 1.7, of Debian 12 and 13, returns offsets without metadata.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from typing import NamedTuple

from .kafka_client import KafkaError

_consumer = 1
_timeout_ms = 30_000


class Committed(NamedTuple):
    """The committed offset of a partition and its metadata."""

    offset: int
    metadata: bytes


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


_ListPointer = POINTER(_TopicPartitionList)


@cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL("librdkafka.so.1")
    text_out = [c_char_p, c_size_t]
    for name, result, arguments in [
        ("conf_new", c_void_p, []),
        ("conf_set", c_int, [c_void_p, c_char_p, c_char_p, *text_out]),
        ("conf_set_log_cb", None, [c_void_p, c_void_p]),
        ("new", c_void_p, [c_int, c_void_p, *text_out]),
        ("destroy", None, [c_void_p]),
        ("err2str", c_char_p, [c_int]),
        ("topic_partition_list_new", _ListPointer, [c_int]),
        ("topic_partition_list_add", c_void_p, [_ListPointer, c_char_p, c_int32]),
        ("topic_partition_list_destroy", None, [_ListPointer]),
        ("committed", c_int, [c_void_p, _ListPointer, c_int]),
    ]:
        function = getattr(lib, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


def committed(
    brokers: str, group: str, partitions: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Committed]:
    """Return the group's committed offsets. Partitions without one are left out."""
    lib = _library()
    conf = lib.rd_kafka_conf_new()
    lib.rd_kafka_conf_set_log_cb(conf, None)
    for key, value in {"bootstrap.servers": brokers, "group.id": group}.items():
        lib.rd_kafka_conf_set(conf, key.encode(), value.encode(), None, 0)
    error = ctypes.create_string_buffer(512)
    consumer = lib.rd_kafka_new(_consumer, conf, error, len(error))
    if not consumer:
        raise KafkaError(f"committed offsets: {error.value.decode()}")
    places = lib.rd_kafka_topic_partition_list_new(0)
    try:
        for topic, partition in partitions:
            lib.rd_kafka_topic_partition_list_add(places, topic.encode(), partition)
        if code := lib.rd_kafka_committed(consumer, places, _timeout_ms):
            raise KafkaError(f"committed offsets: {lib.rd_kafka_err2str(code).decode()}")
        return _found(places.contents)
    finally:
        lib.rd_kafka_topic_partition_list_destroy(places)
        lib.rd_kafka_destroy(consumer)


def _found(places: _TopicPartitionList) -> dict[tuple[str, int], Committed]:
    items = [places.items[index] for index in range(places.count)]
    return {
        (item.topic.decode(), item.partition): Committed(
            item.offset, ctypes.string_at(item.metadata or b"", item.metadata_size)
        )
        for item in items
        if item.offset >= 0
    }
