"""An MQTT client through Eclipse Paho, of version 1.6 (Debian 12) or 2.1 (Debian 13)."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from paho.mqtt import client as paho

from .base import TIMEOUT, ServiceError

_refused_topic = 0x80
# Paho numbers messages with 16 bits and rejects a message whose number is in use.
_in_flight_limit = 20_000
_connect_timeout = 60.0  # seconds; a busy machine may need many of them


class MqttMessage(NamedTuple):
    """A received message."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Access(NamedTuple):
    """How to reach a broker."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class _Paho(paho.Client):
    """Paho's client, made in the same way in both versions, and with errors of TLS reported."""

    def __init__(
        self, client_id: str | None, clean: bool, on_tls_error: Callable[[ssl.SSLError], None]
    ) -> None:
        # Version 2 requires the version of the callbacks, which version 1 lacks. The callbacks of
        # this module ignore the arguments in which the two differ.
        versions = getattr(paho, "CallbackAPIVersion", None)
        required = (versions.VERSION2,) if versions else ()
        super().__init__(*required, client_id=client_id or "", clean_session=clean)
        self._on_tls_error = on_tls_error

    def loop_forever(self, *arguments: Any, **named: Any) -> int:
        try:
            return super().loop_forever(*arguments, **named)
        except ssl.SSLError as error:  # a broker rejects a certificate after the handshake
            self._on_tls_error(error)
            return paho.MQTT_ERR_TLS


def _tls_context(access: Access) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(access.ca_file)
    if access.cert_file:
        context.load_cert_chain(access.cert_file, access.key_file)
    return context


class _Client:
    """A connection with a Paho thread, which also reconnects when the connection is lost."""

    def __init__(self, access: Access, client_id: str | None, clean: bool) -> None:
        self._changed = threading.Condition()
        self._refusal: str | None = None  # empty while connected, None while unknown
        self._client = client = _Paho(client_id, clean, self._on_tls_error)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        try:
            self._open(access)
        except OSError as error:
            self.close()
            raise ServiceError(f"mqtt: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(self, access: Access) -> None:
        client = self._client
        if access.user is not None:
            client.username_pw_set(access.user, access.password or "")
        if access.ca_file:
            client.tls_set_context(_tls_context(access))
        client.reconnect_delay_set(1, 1)
        client.connect(access.host, access.port, keepalive=60)
        client.loop_start()
        self._wait(lambda: self._refusal is not None, _connect_timeout, "CONNACK")
        if self._refusal:
            raise ServiceError(f"mqtt: {self._refusal}")

    @property
    def connected(self) -> bool:
        return self._refusal == ""

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a TLS error may have ended the connection
            self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"mqtt: no {what} within {timeout:g} s")

    # The following functions run in Paho's thread.

    def _on_connect(self, client: paho.Client, context: Any, flags: Any, code: Any, *_: Any) -> None:
        self._set_refusal("" if code == 0 else paho.connack_string(code))

    def _on_tls_error(self, error: ssl.SSLError) -> None:
        self._set_refusal(f"TLS: {error}")

    def _set_refusal(self, refusal: str) -> None:
        with self._changed:
            self._refusal = refusal
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            if self.connected:  # keep a rejection for the thread that waits for it
                self._refusal = None

    def _on_publish(self, *_: Any) -> None:
        pass

    def _on_message(self, client: paho.Client, context: Any, message: paho.MQTTMessage) -> None:
        pass

    def _on_subscribe(self, client: paho.Client, context: Any, mid: int, codes: Any, *_: Any) -> None:
        pass


class Publisher(_Client):
    """Publishes, and waits until the broker has acknowledged all messages (QoS 0: sent)."""

    def __init__(self, access: Access) -> None:
        self._done = 0
        self._awaited = 0
        super().__init__(access, None, clean=True)

    def publish(
        self, messages: Iterable[tuple[str, bytes]], qos: int, retain: bool, timeout: float
    ) -> int:
        self._done = count = 0
        for topic, payload in messages:
            if count % _in_flight_limit == 0:
                self._wait_until_done(count, timeout)
            info = self._client.publish(topic, payload, qos, retain)
            # Paho sends a message of QoS 1 or 2 later if it has no connection now.
            if info.rc != 0 and not (qos and info.rc == paho.MQTT_ERR_NO_CONN):
                raise ServiceError(f"mqtt: {paho.error_string(info.rc)}")
            count += 1
        self._wait_until_done(count, timeout)
        return count

    def _wait_until_done(self, count: int, timeout: float) -> None:
        with self._changed:
            self._awaited = count
        self._wait(lambda: self._done >= count, timeout, f"acknowledgement of {count} messages")

    def _on_publish(self, *_: Any) -> None:
        with self._changed:
            self._done += 1
            if self._done == self._awaited:  # a wake-up for each message would take most of the time
                self._changed.notify_all()


class Subscription(_Client):
    """Collects messages in the background; subscribes again when the broker is back."""

    def __init__(
        self,
        access: Access,
        topics: Sequence[str],
        qos: int,
        client_id: str | None = None,
        clean: bool = True,
    ) -> None:
        self._topics = [(topic, qos) for topic in topics]
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
        """The messages received so far."""
        with self._changed:
            return self._messages.copy()

    def wait_for(self, count: int, timeout: float = TIMEOUT) -> list[MqttMessage]:
        """Wait until there are `count` messages, and return all messages."""
        with self._changed:
            self._wanted = count
            if not self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                raise TimeoutError(
                    f"mqtt: {len(self._messages)} messages within {timeout:g} s, not {count}"
                )
            return self._messages.copy()

    def wait_until_subscribed(self, timeout: float = TIMEOUT) -> None:
        """Wait until the broker has confirmed all topics on the present connection."""
        self._wait(lambda: self._granted >= len(self._topics), timeout, "subscription")

    def clear(self) -> None:
        with self._changed:
            self._messages.clear()

    def _on_connect(self, client: paho.Client, context: Any, flags: Any, code: Any, *_: Any) -> None:
        if code == 0:
            client.subscribe(self._topics)
        super()._on_connect(client, context, flags, code)

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self._granted = 0
        super()._on_disconnect()

    def _on_subscribe(self, client: paho.Client, context: Any, mid: int, codes: Any, *_: Any) -> None:
        with self._changed:
            self._granted += sum(code != _refused_topic for code in codes)
            self._changed.notify_all()

    def _on_message(self, client: paho.Client, context: Any, message: paho.MQTTMessage) -> None:
        received = MqttMessage(message.topic, message.payload, message.qos, bool(message.retain))
        with self._changed:
            self._messages.append(received)
            if len(self._messages) == self._wanted:
                self._changed.notify_all()
