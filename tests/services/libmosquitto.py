"""An MQTT client through libmosquitto, which comes with mosquitto_pub.

Unlike the programs it takes any topic and any bytes, a hundred thousand messages on one
connection, and knows when a subscription holds.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Sequence
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int, c_uint, c_void_p
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Self

from .base import PATIENCE, ServiceError


class MqttMessage(NamedTuple):
    """A message as it was received."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class _RawMessage(Structure):
    _fields_ = [
        ("mid", c_int),
        ("topic", c_char_p),
        ("payload", c_void_p),
        ("size", c_int),
        ("qos", c_int),
        ("retain", c_bool),
    ]


_OnConnect = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int)
_OnPublish = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int)
_OnMessage = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, POINTER(_RawMessage))
_OnSubscribe = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_int, POINTER(c_int))


@cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL("libmosquitto.so.1")
    for name, result, arguments in [
        ("lib_init", c_int, []),
        ("new", c_void_p, [c_char_p, c_bool, c_void_p]),
        ("destroy", None, [c_void_p]),
        ("username_pw_set", c_int, [c_void_p, c_char_p, c_char_p]),
        ("tls_set", c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_char_p, c_void_p]),
        ("reconnect_delay_set", c_int, [c_void_p, c_uint, c_uint, c_bool]),
        ("connect", c_int, [c_void_p, c_char_p, c_int, c_int]),
        ("disconnect", c_int, [c_void_p]),
        ("loop_start", c_int, [c_void_p]),
        ("loop_stop", c_int, [c_void_p, c_bool]),
        ("subscribe", c_int, [c_void_p, POINTER(c_int), c_char_p, c_int]),
        (
            "publish",
            c_int,
            [c_void_p, POINTER(c_int), c_char_p, c_int, c_char_p, c_int, c_bool],
        ),
        ("strerror", c_char_p, [c_int]),
        ("connack_string", c_char_p, [c_int]),
        ("connect_callback_set", None, [c_void_p, _OnConnect]),
        ("disconnect_callback_set", None, [c_void_p, _OnConnect]),
        ("publish_callback_set", None, [c_void_p, _OnPublish]),
        ("message_callback_set", None, [c_void_p, _OnMessage]),
        ("subscribe_callback_set", None, [c_void_p, _OnSubscribe]),
    ]:
        function = getattr(lib, f"mosquitto_{name}")
        function.restype, function.argtypes = result, arguments
    lib.mosquitto_lib_init()
    return lib


class Access(NamedTuple):
    """How to reach a broker."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class _Client:
    """A connection, served by a thread of libmosquitto's, which also renews it when it is lost."""

    def __init__(self, access: Access, client_id: str | None, clean: bool) -> None:
        self._lib = lib = _library()
        self._changed = threading.Condition()
        self._answer: int | None = None
        self._keep = (
            _OnConnect(self._on_connect),
            _OnPublish(self._on_publish),
            _OnMessage(self._on_message),
            _OnSubscribe(self._on_subscribe),
            _OnConnect(self._on_disconnect),
        )
        self._handle = lib.mosquitto_new(client_id.encode() if client_id else None, clean, None)
        if not self._handle:
            raise ServiceError("mosquitto_new failed: a lasting session needs a client id")
        lib.mosquitto_connect_callback_set(self._handle, self._keep[0])
        lib.mosquitto_disconnect_callback_set(self._handle, self._keep[4])
        lib.mosquitto_publish_callback_set(self._handle, self._keep[1])
        lib.mosquitto_message_callback_set(self._handle, self._keep[2])
        lib.mosquitto_subscribe_callback_set(self._handle, self._keep[3])
        try:
            self._open(access)
        except BaseException:
            self.close()
            raise

    def _open(self, access: Access) -> None:
        lib, handle = self._lib, self._handle
        if access.user is not None:
            password = (access.password or "").encode()
            self._check(lib.mosquitto_username_pw_set(handle, access.user.encode(), password))
        if access.ca_file:
            names = (access.ca_file, None, access.cert_file, access.key_file)
            files = [name.encode() if name else None for name in names]
            self._check(lib.mosquitto_tls_set(handle, *files, None))
        lib.mosquitto_reconnect_delay_set(handle, 1, 1, False)
        self._check(lib.mosquitto_connect(handle, access.host.encode(), access.port, 60))
        self._check(lib.mosquitto_loop_start(handle))
        self._wait(lambda: self._answer is not None, 10.0, "the broker's welcome")
        if self._answer:
            raise ServiceError(f"mqtt: {lib.mosquitto_connack_string(self._answer).decode()}")

    @property
    def connected(self) -> bool:
        return self._answer == 0

    def close(self) -> None:
        if self._handle:
            self._lib.mosquitto_disconnect(self._handle)
            self._lib.mosquitto_loop_stop(self._handle, False)
            self._lib.mosquitto_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, code: int) -> None:
        if code:
            raise ServiceError(f"mqtt: {self._lib.mosquitto_strerror(code).decode()}")

    def _wait(self, condition: Any, timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"mqtt: waited {timeout:g} s in vain for {what}")

    # These run in libmosquitto's thread.

    def _on_connect(self, handle: int, context: int, code: int) -> None:
        with self._changed:
            self._answer = code
            self._changed.notify_all()

    def _on_disconnect(self, handle: int, context: int, code: int) -> None:
        with self._changed:
            if self.connected:  # else it was refused, and whoever waits is to learn that
                self._answer = None

    def _on_publish(self, handle: int, context: int, mid: int) -> None:
        pass

    def _on_message(self, handle: int, context: int, raw: Any) -> None:
        pass

    def _on_subscribe(self, handle: int, context: int, mid: int, count: int, granted: Any) -> None:
        pass


class Publisher(_Client):
    """Publishes, and waits until the broker has taken it all (QoS 0: until it is sent)."""

    def __init__(self, access: Access) -> None:
        self._done = 0
        self._expected: int | None = None
        super().__init__(access, None, clean=True)

    def publish(
        self, messages: Iterable[tuple[str, bytes]], qos: int, retain: bool, timeout: float
    ) -> int:
        self._done, self._expected = 0, None
        count = 0
        for topic, payload in messages:
            code = self._lib.mosquitto_publish(
                self._handle, None, topic.encode(), len(payload), payload, qos, retain
            )
            self._check(code)
            count += 1
        with self._changed:
            self._expected = count
        what = f"{count} messages to be acknowledged"
        self._wait(lambda: self._done >= count, timeout, what)
        return count

    def _on_publish(self, handle: int, context: int, mid: int) -> None:
        with self._changed:
            self._done += 1
            if self._done == self._expected:  # a wake-up for each would take most of the time
                self._changed.notify_all()


class Subscription(_Client):
    """Collects messages in the background; subscribes again by itself when the broker came back."""

    def __init__(
        self,
        access: Access,
        topics: Sequence[str],
        qos: int,
        client_id: str | None = None,
        clean: bool = True,
    ) -> None:
        self._topics = tuple(topics)
        self._qos = qos
        self._granted = 0
        self._messages: list[MqttMessage] = []
        self._wanted = 0
        super().__init__(access, client_id, clean)
        try:
            self.wait_until_subscribed()
        except BaseException:
            self.close()
            raise

    @property
    def messages(self) -> list[MqttMessage]:
        """What has come in so far."""
        with self._changed:
            return self._messages.copy()

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[MqttMessage]:
        """Waits until there are `count` messages, and gives all there are."""
        with self._changed:
            self._wanted = count
            if not self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                raise TimeoutError(
                    f"mqtt: {len(self._messages)} messages within {timeout:g} s, not {count}"
                )
            return self._messages.copy()

    def wait_until_subscribed(self, timeout: float = PATIENCE) -> None:
        """Waits until the broker confirmed all topics on the present connection."""
        self._wait(lambda: self._granted >= len(self._topics), timeout, "the subscription")

    def clear(self) -> None:
        with self._changed:
            self._messages.clear()

    def _on_connect(self, handle: int, context: int, code: int) -> None:
        if code == 0:
            for topic in self._topics:
                self._lib.mosquitto_subscribe(handle, None, topic.encode(), self._qos)
        super()._on_connect(handle, context, code)

    def _on_disconnect(self, handle: int, context: int, code: int) -> None:
        with self._changed:
            self._granted = 0
        super()._on_disconnect(handle, context, code)

    def _on_subscribe(self, handle: int, context: int, mid: int, count: int, granted: Any) -> None:
        refused = any(granted[index] == 0x80 for index in range(count))
        with self._changed:
            self._granted += 0 if refused else count
            self._changed.notify_all()

    def _on_message(self, handle: int, context: int, raw: Any) -> None:
        message = raw.contents
        payload = ctypes.string_at(message.payload, message.size) if message.size else b""
        received = MqttMessage(message.topic.decode(), payload, message.qos, bool(message.retain))
        with self._changed:
            self._messages.append(received)
            if len(self._messages) == self._wanted:
                self._changed.notify_all()
