# SPDX-License-Identifier: Apache-2.0
"""Sessions of mqtt_source: refused reconnects, changed filters, retained messages, forgotten sessions, lower QoS; and
what one client must not do twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run
from scripted_broker import Published, ScriptedBroker

from services import Mosquitto, wait_until

VERSIONS = ["3.1.1", "5"]
USAGE, FAILED = 2, 1


@pytest.fixture(scope="module")
def keeping() -> Iterator[Mosquitto]:
    """A broker that keeps its sessions when it restarts."""
    with Mosquitto(persistence=True) as service:
        yield service


def source(url: str, topic: str, **options: object) -> dict[str, object]:
    return {"plugin": "mqtt_source", "url": url, "topic": topic, **options}


def config_of(directory: Path, sources: dict[str, dict[str, object]], **more: object) -> Path:
    """Write a configuration that stores each source's messages in a file."""
    sinks = {f"{name}_file": {"plugin": "file_sink", "from": name, "path": f"{name}.ndjson"} for name in sources}
    return configuration(directory, sources=sources, sinks=sinks, **more)


def host_of(directory: Path, **sources: dict[str, object]) -> PipelineHost:
    return PipelineHost(config_of(directory, sources), directory)


def rows(directory: Path, name: str = "in") -> list[dict[str, Any]]:
    return ndjson(directory / f"{name}.ndjson")


def values(directory: Path, name: str = "in") -> list[str]:
    return [row["value"] for row in rows(directory, name)]


def wait_for_value(directory: Path, value: str, name: str = "in") -> None:
    wait_until(lambda: value in values(directory, name), f"the row '{value}'")


def messages_after(broker: ScriptedBroker, directory: Path, value: str) -> None:
    """Publish until the row is there: a broker without sessions loses what it sends before the subscription."""

    def arrived() -> bool:
        broker.publish("t", value.encode())
        return value in values(directory)

    wait_until(arrived, f"the row '{value}'")


# Refusals


@pytest.mark.parametrize(
    ("version", "codes"), [("3.1.1", [2, 4, 5]), ("5", [0x87, 0x8A, 0x85]), ("3.1.1", [1, 3]), ("5", [0x86, 0x8C, 0x88])]
)
def test_a_refusal_during_a_reconnect_is_retried(tmp_path: Path, version: str, codes: list[int]) -> None:
    with ScriptedBroker() as broker, host_of(tmp_path, **{"in": source(broker.url(), "t", version=version)}) as host:
        broker.wait_for_connections(1)
        messages_after(broker, tmp_path, "before")
        broker.refusals = codes * 1000  # until the host's state is checked
        broker.drop()
        wait_until(lambda: broker.refused >= len(codes), "all refusals")
        assert host.metric("pipeline_mqtt_source_connected") == 0
        wait_until(lambda: "rejects the connection" in host.get("/health/ready")[1], "the reason")
        status, ready = host.get("/health/ready")
        (waiting,) = json.loads(ready)["waiting"]
        assert (status, waiting["node"]) == (503, "in")
        broker.refusals = []
        broker.wait_for_connections(2)
        messages_after(broker, tmp_path, "after")
        assert host.metric("pipeline_mqtt_source_connects_total") == 2
        assert host.stop() == 0


@pytest.mark.parametrize(("version", "code"), [("3.1.1", 0x80), ("5", 0x87)])
def test_a_refused_subscription_during_a_reconnect_is_retried(tmp_path: Path, version: str, code: int) -> None:
    with ScriptedBroker() as broker, host_of(tmp_path, **{"in": source(broker.url(), "t", version=version)}) as host:
        broker.wait_for_connections(1)
        messages_after(broker, tmp_path, "before")
        broker.grant = lambda _, __: code
        broker.drop()
        broker.wait_for_connections(3)
        assert host.metric("pipeline_mqtt_source_connected") == 0
        broker.grant = lambda _, qos: qos
        messages_after(broker, tmp_path, "after")
        assert host.stop() == 0


@pytest.mark.parametrize(("version", "code"), [("3.1.1", 5), ("5", 0x87)])
def test_a_refusal_at_the_start_stops_the_pipeline(tmp_path: Path, version: str, code: int) -> None:
    with ScriptedBroker() as broker:
        broker.refusals = [code]
        with host_of(tmp_path, **{"in": source(broker.url(), "t", version=version)}) as host:
            assert host.wait() == FAILED
        assert broker.connections == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_that_does_not_respond_to_the_first_subscription_is_retried(tmp_path: Path, version: str) -> None:
    options = {"version": version, "connect_timeout": "2s"}
    with ScriptedBroker() as broker:
        broker.grant = lambda _, __: None
        with host_of(tmp_path, **{"in": source(broker.url(), "t", **options)}) as host:
            broker.wait_for_connections(2)
            broker.grant = lambda _, qos: qos
            messages_after(broker, tmp_path, "after")
            assert host.stop() == 0


# Filters


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["restart", "reload"])
def test_filters_that_are_no_longer_configured_are_unsubscribed(
    mosquitto: Mosquitto, unique_name: str, tmp_path: Path, version: str, how: str
) -> None:
    def options(*filters: str) -> dict[str, object]:
        named = [f"{unique_name}/{f}" for f in filters]
        return {"plugin": "mqtt_source", "url": mosquitto.url(), "topics": named, "version": version}

    def change(*filters: str) -> None:
        config_of(tmp_path, {"in": options(*filters)})

    host = host_of(tmp_path, **{"in": options("a/#", "both/+")})
    with host:
        host.wait_ready()
        mosquitto.publish(f"{unique_name}/a/x", b"one")
        wait_for_value(tmp_path, "one")
        if how == "restart":
            assert host.stop() == 0
            # Queued for the filter that is no longer configured at the next start.
            mosquitto.publish_all([(f"{unique_name}/a/x", b"queued"), (f"{unique_name}/both/x", b"kept")])
        change("b/#", "both/+")
        if how == "restart":
            host.start()
            wait_for_value(tmp_path, "kept")
            assert host.metric("pipeline_mqtt_source_unsubscribed_dropped_total") == 1
        else:
            host.signal(signal.SIGHUP)
            host.wait_for_log("configuration reloaded")
        host.wait_ready()
        mosquitto.publish(f"{unique_name}/a/x", b"stray")
        mosquitto.publish_all([(f"{unique_name}/b/x", b"two"), (f"{unique_name}/both/x", b"both")])
        wait_for_value(tmp_path, "both")
        assert host.stop() == 0
    # Nothing is queued for the old filter: the broker no longer has it.
    mosquitto.publish_all([(f"{unique_name}/a/x", b"stray"), (f"{unique_name}/b/x", b"three")])
    with host:
        wait_for_value(tmp_path, "three")
        assert host.metric("pipeline_mqtt_source_unsubscribed_dropped_total") == 0
        assert host.stop() == 0
    assert sorted(values(tmp_path)) == sorted(["one", *(["kept"] if how == "restart" else []), "two", "both", "three"])


def test_what_is_subscribed_to_at_each_connection(tmp_path: Path) -> None:
    """MQTT 3.1.1: only what the session lacks. MQTT 5: everything, but retained messages only for what is new."""

    def run_with(broker: ScriptedBroker, version: str, *filters: str, qos: int = 1) -> None:
        folder = tmp_path / version
        broker.subscribed.clear()
        broker.unsubscribed.clear()
        before = broker.connections
        options = {"plugin": "mqtt_source", "url": broker.url(), "topics": list(filters), "version": version, "qos": qos}
        with host_of(folder, **{"in": options}) as host:
            broker.wait_for_connections(before + 1)
            host.wait_ready()
            assert host.stop() == 0

    with ScriptedBroker() as broker:
        run_with(broker, "3.1.1", "a", "b")
        assert broker.subscribed == [("a", 1, 0), ("b", 1, 0)]
        broker.session_present = True
        run_with(broker, "3.1.1", "a", "b")
        assert broker.subscribed == []
        run_with(broker, "3.1.1", "b", "c")
        assert (broker.subscribed, broker.unsubscribed) == ([("c", 1, 0)], ["a"])
        run_with(broker, "3.1.1", "b", "c", qos=0)
        assert broker.subscribed == [("b", 0, 0), ("c", 0, 0)]
        broker.session_present = False  # the broker has forgotten everything
        run_with(broker, "3.1.1", "b", "c", qos=0)
        assert (broker.subscribed, broker.unsubscribed) == ([("b", 0, 0), ("c", 0, 0)], [])
    with ScriptedBroker() as broker:
        run_with(broker, "5", "a", "b")
        broker.session_present = True
        run_with(broker, "5", "b", "c")
        assert broker.subscribed == [("b", 1, 1), ("c", 1, 1)]
        assert broker.unsubscribed == ["a"]


# Retained messages


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_session_stores_retained_messages_once(
    keeping: Mosquitto, unique_name: str, tmp_path: Path, version: str
) -> None:
    keeping.publish(f"{unique_name}/a", b"retained", retain=True)
    host = host_of(tmp_path, **{"in": source(keeping.url(), f"{unique_name}/#", version=version)})
    with host:
        wait_for_value(tmp_path, "retained")
        keeping.restart()  # the host reconnects to its session
        wait_until(lambda: host.metric("pipeline_mqtt_source_connects_total") == 2, "a second connection")
        keeping.publish(f"{unique_name}/b", b"after the reconnect")
        wait_for_value(tmp_path, "after the reconnect")
        assert host.stop() == 0
    with host:
        host.wait_ready()
        keeping.publish(f"{unique_name}/b", b"after the restart")
        wait_for_value(tmp_path, "after the restart")
        assert host.metric("pipeline_mqtt_source_sessions_lost_total") == 0
        assert host.stop() == 0
    assert values(tmp_path) == ["retained", "after the reconnect", "after the restart"]


# Losses


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_that_the_broker_has_forgotten_is_counted(unique_name: str, tmp_path: Path, version: str) -> None:
    with Mosquitto() as forgetful:  # sessions do not survive its restart
        forgetful.publish("t", b"retained", retain=True)
        host = host_of(tmp_path, **{"in": source(forgetful.url(), "t", version=version)})
        with host:
            host.wait_ready()
            assert host.metric("pipeline_mqtt_source_sessions_lost_total") == 0
            forgetful.restart()
            wait_until(lambda: host.metric("pipeline_mqtt_source_connects_total") == 2, "a second connection")
            wait_until(lambda: host.metric("pipeline_mqtt_source_sessions_lost_total") == 1, "the lost session")
            assert host.stop() == 0
        forgetful.restart()
        with host:
            host.wait_ready()
            wait_until(lambda: host.metric("pipeline_mqtt_source_sessions_lost_total") == 1, "the lost session")
            assert any(m["level"] == "warn" and "LOST" in m["message"] for m in host.messages())
            forgetful.publish("t", b"live")
            wait_for_value(tmp_path, "live")
            assert host.stop() == 0


def test_a_clean_session_is_not_expected(unique_name: str, tmp_path: Path) -> None:
    with Mosquitto() as broker:
        host = host_of(tmp_path, **{"in": source(broker.url(), "t", clean_session=True)})
        with host:
            host.wait_ready()
            broker.restart()
            wait_until(lambda: host.metric("pipeline_mqtt_source_connects_total") == 2, "a second connection")
            assert host.metric("pipeline_mqtt_source_sessions_lost_total") == 0
            assert host.stop() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lower_qos_is_counted_and_found_by_validate(tmp_path: Path, version: str) -> None:
    with Mosquitto(settings={"max_qos": "1"}) as broker:
        options = source(broker.url(), "$share/g/t", version=version, qos=2, client_id="lowered")
        config = config_of(tmp_path, {"in": options})
        with PipelineHost(config, tmp_path) as host:
            host.wait_ready()
            assert host.metric("pipeline_mqtt_source_lower_qos_total") == 1
            found = run("validate", "--connect", str(config), cwd=tmp_path)
            assert found.returncode == FAILED
            assert "QoS 1 instead of 2" in found.stderr
            # The check used a client id and a subscription of its own.
            assert host.metric("pipeline_mqtt_source_connects_total") == 1
            broker.publish_all([("t", str(n).encode()) for n in range(20)])
            wait_until(lambda: len(rows(tmp_path)) == 20, "all messages")
            assert host.stop() == 0
        config_of(tmp_path, {"in": options | {"qos": 1}})
        assert run("validate", "--connect", str(config), cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("version", "granted"), [("3.1.1", 0), ("5", 0), ("5", 0x87), ("3.1.1", 0x80)])
def test_validate_checks_the_granted_subscription(tmp_path: Path, version: str, granted: int) -> None:
    with ScriptedBroker() as broker:
        broker.grant = lambda _, __: granted
        config = config_of(tmp_path, {"in": source(broker.url(), "$share/g/a/+", version=version, client_id="one")})
        found = run("validate", "--connect", str(config), cwd=tmp_path)
        assert found.returncode == FAILED
        assert "a/+" in found.stderr
        assert broker.client_ids == ["one-check"]
        assert [s.filter for s in broker.subscribed] == ["a/+"]


# What is always stored twice


def problems(directory: Path, sources: dict[str, dict[str, object]], **more: object) -> tuple[int, str]:
    config = config_of(directory, sources, **more)
    found = run("validate", str(config), cwd=directory)
    started = run("run", str(config), "--set", "http.listen=off", cwd=directory) if found.returncode else None
    assert started is None or started.returncode == found.returncode
    return found.returncode, found.stderr


URL = "mqtt://127.0.0.1:1"


@pytest.mark.parametrize("how", ["of the source", "of the pipeline"])
def test_several_lanes_need_a_shared_subscription(tmp_path: Path, how: str) -> None:
    own = {"lanes": 2} if how == "of the source" else {}
    more: dict[str, Any] = {} if own else {"lanes": 2}
    code, text = problems(tmp_path, {"in": source(URL, "a/#", **own)}, **more)
    assert code == USAGE
    assert "with 2 lanes" in text
    assert "$share/<group>/a/#" in text
    assert problems(tmp_path, {"in": source(URL, "$share/g/a/#", **own)}, **more)[0] == 0
    mixed = {"plugin": "mqtt_source", "url": URL, "topics": ["$share/g/a/#", "b"], **own}
    assert problems(tmp_path, {"in": mixed}, **more)[0] == USAGE


@pytest.mark.parametrize(
    ("filters", "code", "text"),
    [
        (["a/#", "a/b"], USAGE, "'a/b' matches only topics that 'a/#' matches, too"),
        (["a/b", "a/+"], USAGE, "'a/b' matches only topics that 'a/+' matches, too"),
        (["a", "a"], USAGE, "'a' is listed twice"),
        (["$share/g/a/#", "a/b"], USAGE, "once for each of the two subscriptions"),
        (["$share/g/a/#", "$share/h/a/#"], USAGE, "once for each of the two subscriptions"),
        (["a/+", "+/b"], 0, "warning: 'a/+' and '+/b' match some of the same topics"),
        (["a/+", "b/+"], 0, ""),
        (["a/\tb"], USAGE, "control character"),
        (["a/b#"], USAGE, "'#' must be a whole level"),
    ],
)
def test_overlapping_filters(tmp_path: Path, filters: list[str], code: int, text: str) -> None:
    found, errors = problems(tmp_path, {"in": {"plugin": "mqtt_source", "url": URL, "topics": filters}})
    assert found == code, errors
    assert text in errors
    assert errors if text else not errors


def test_one_client_id_cannot_be_used_twice(tmp_path: Path) -> None:
    one, two = source(URL, "a", client_id="same"), source(URL, "b", client_id="same")
    code, text = problems(tmp_path, {"one": one, "two": two})
    assert code == USAGE
    assert "the MQTT client id 'same' at 127.0.0.1:1 is used twice: by test/one and by test/two" in text
    assert problems(tmp_path, {"one": one, "two": two | {"client_id": "other"}})[0] == 0
    assert problems(tmp_path, {"one": one, "two": two | {"url": "mqtt://127.0.0.1:2"}})[0] == 0
    for spelling in ("mqtt://localhost:1", "mqtt://LocalHost:1", "tcp://[::1]:1"):
        assert problems(tmp_path, {"one": one, "two": two | {"url": spelling}})[0] == USAGE, spelling
    sink = {"plugin": "mqtt_sink", "from": "one", "url": URL, "topic": "t", "client_id": "same"}
    config = configuration(tmp_path, sources={"one": one}, sinks={"out": sink})
    assert run("validate", str(config)).returncode == USAGE
    # Two pipelines of one process.
    text = config_of(tmp_path, {"one": one}).read_text()
    config.write_text(text + "\n---\n" + json.dumps(json.loads(text) | {"name": "second"}))
    found = run("validate", str(config))
    assert found.returncode == USAGE
    assert "by test/one and by second/one" in found.stderr


# Empty payloads


@pytest.mark.parametrize("parser", ["json_telemetry", "json_check"])
def test_empty_payloads_are_skipped_like_tombstones(
    mosquitto: Mosquitto, unique_name: str, tmp_path: Path, parser: str
) -> None:
    def host_with(tombstones: str) -> PipelineHost:
        config = configuration(
            tmp_path,
            sources={"in": source(mosquitto.url(), f"{unique_name}/#")},
            transforms={"parsed": {"plugin": parser, "from": "in", "tombstones": tombstones}},
            sinks={"out": {"plugin": "file_sink", "from": "parsed", "path": "out.ndjson"}},
        )
        return PipelineHost(config, tmp_path)

    reading = json.dumps({"user_id": "u", "device_id": "d", "ts": 1700000000000, "temperature": 1}).encode()
    counter = "pipeline_json_tombstones_total" if parser == "json_telemetry" else "pipeline_json_check_tombstones_total"
    with host_with("skip") as host:
        host.wait_ready()
        mosquitto.publish(f"{unique_name}/a", b"", retain=True)
        mosquitto.publish_all([(f"{unique_name}/a", b""), (f"{unique_name}/a", reading)])
        wait_until(lambda: len(ndjson(tmp_path / "out.ndjson")) == 1, "the reading")
        assert host.metric(counter) == 2
        assert host.metric("pipeline_rejected_total") == 0
        assert host.stop() == 0
    assert dead_letters(tmp_path) == []
    with host_with("reject") as host:
        host.wait_ready()
        mosquitto.publish(f"{unique_name}/a", b"")
        wait_until(lambda: len(dead_letters(tmp_path)) == 1, "a dead letter")
        assert host.stop() == 0


# The sink


def readings(directory: Path, ids: list[str]) -> Path:
    """Write a file with one reading of each device."""
    file = directory / "readings.ndjson"
    lines = [
        json.dumps({"user_id": "u", "device_id": i, "ts": 1700000000000 + n, "temperature": n})
        for n, i in enumerate(ids)
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


def sink_host(directory: Path, url: str, ids: list[str], **options: object) -> PipelineHost:
    config = configuration(
        directory,
        sources={"in": {"plugin": "file_source", "path": str(readings(directory, ids))}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "in", "nul": "keep"}},
        sinks={"out": {"plugin": "mqtt_sink", "from": "parsed", "url": url, **options}},
    )
    return PipelineHost(config, directory)


STRANGE = ["bell\u0007", "nul\u0000", "tab\t", "c1\u0085", "no\ufffe", "plane\U0001ffff", "del\u007f"]


@pytest.mark.parametrize("policy", ["escape", "reject"])
def test_ids_with_control_characters_do_not_hold_up_the_others(
    mosquitto: Mosquitto, unique_name: str, tmp_path: Path, policy: str
) -> None:
    good = [f"d{n}" for n in range(20)]
    ids = [x for pair in zip(good, STRANGE, strict=False) for x in pair] + good[len(STRANGE) :]
    options = {"topic": unique_name, "version": "5", "payload": "{temperature}", "unsafe_ids": policy,
               "user_properties": {"device": "{device_id}"}}  # fmt: skip
    with mosquitto.subscribe(unique_name) as out, sink_host(tmp_path, mosquitto.url(), ids, **options) as host:
        assert host.wait() == 0
        expected = [n for n, i in enumerate(ids) if policy == "escape" or i in good]
        got = sorted(int(float(m.payload)) for m in out.wait_for(len(expected)))
        assert got == expected
    assert len(dead_letters(tmp_path)) == (0 if policy == "escape" else len(STRANGE))


def test_dead_letters_of_one_write_do_not_wait_for_its_end_and_the_back_off_stays_short(tmp_path: Path) -> None:
    bad = {b"3", b"8", b"12"}
    held = b"19"
    seen: set[bytes] = set()
    let_go: list[bool] = []

    def take(message: Published) -> bool | None:
        seen.add(message.payload)
        if message.payload in bad:
            return False
        return True if message.payload != held or let_go else None

    with ScriptedBroker() as broker:
        broker.take = take
        ids = [f"d{n}" for n in range(20)]
        options = {"topic": "t", "payload": "{temperature}", "ack_timeout": "60s", "retry": {"initial": "100ms", "max": "30s"}}
        with sink_host(tmp_path, broker.url(), ids, **options) as host:
            # Without a reset after progress, the back-off would exceed 30 s before the third bad message is found.
            wait_until(lambda: len(dead_letters(tmp_path)) == len(bad), "the dead letters", 45)
            wait_until(lambda: len(broker.published) >= 16, "the other messages", 45)
            assert held not in {m.payload for m in broker.published}  # so the write has not returned
            let_go.append(True)
            broker.drop()
            assert host.wait() == 0
        assert {m.payload for m in broker.published} == {str(n).encode() for n in range(20)} - bad
        assert len(dead_letters(tmp_path)) == len(bad)


