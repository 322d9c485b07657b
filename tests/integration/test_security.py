# SPDX-License-Identifier: Apache-2.0
"""TLS, certificates and logins to all servers: the default pipeline, error messages, and recovery."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from load_tester import LoadTester
from pipeline_host import PROGRAM, SOURCE, PipelineHost, configuration, ndjson
from security import PASSWORD, USER, SecureServers, mechanism, sets

from services import TIMEOUT, Authority, Kafka, Mosquitto, PgBouncer, Tls, wait_until
from services.kafka import OLDER_VERSION

WRONG = "wr0ng-passw0rd"
Options = dict[str, Any]


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[SecureServers]:
    with SecureServers(authority) as servers:
        yield servers


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that no server trusts."""
    return Authority(tmp_path_factory.mktemp("untrusted"), "untrusted authority")


def without_secrets(text: str) -> None:
    assert PASSWORD not in text
    assert WRONG not in text


# The default pipeline


def test_the_default_pipeline_with_tls_and_authentication_everywhere(
    secure: SecureServers, tmp_path: Path
) -> None:
    topic, letters = "iot-stream", "iot-dead-letters"
    secure.kafka.create_topic(topic, partitions=4)
    secure.kafka.create_topic(letters)
    kafka, mqtt = secure.kafka_options(), secure.mqtt_options()
    secure.database.create_database("secured")
    url = secure.pool.url("secured")
    own = secure.certificate
    bridge_sets = [
        *sets("sources.devices", mqtt), *sets("sinks.topic", kafka), *sets("dead_letters", kafka),
    ]  # fmt: skip
    iot_sets = [*sets("sources.telemetry", kafka), *sets("sinks.notify", mqtt), f"sinks.store.url={url}"]
    (tmp_path / "bridge").mkdir()
    (tmp_path / "iot").mkdir()
    bridge = PipelineHost(SOURCE / "configs" / "bridge.yaml", tmp_path / "bridge", sets=bridge_sets)
    iot = PipelineHost(SOURCE / "configs" / "iot.yaml", tmp_path / "iot", sets=iot_sets)
    with bridge, iot:
        bridge.wait_ready()
        iot.wait_ready()
        outcome = LoadTester(
            "--json", "--verify", "--count", "3000", "--rate", "1000", "--anomalies", "3", "--broken", "1",
            "--users", "4", "--broker", secure.broker.url(), "--ca", str(secure.authority.ca),
            "--cert", str(own.cert), "--key", str(own.key), "--database", url,
        ).wait()  # fmt: skip
        assert (outcome.code, outcome.report["faults"]) == (0, []), outcome.err
        assert outcome.report["stored"] == outcome.report["expected"] > 2900
        assert outcome.report["alerts"]["seen"] == outcome.report["alerts"]["expected"] > 3
        assert bridge.stop() == iot.stop() == 0
        encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'postgres'"
        assert secure.database.query(encrypted) == [(True,)]
    without_secrets(bridge.log() + iot.log() + outcome.err)


def test_an_older_kafka_accepts_users_by_scram(authority: Authority, unique_name: str, tmp_path: Path) -> None:
    with Kafka(tls=Tls(authority), users={USER: PASSWORD}, version=OLDER_VERSION) as kafka:
        kafka.create_topic(unique_name)
        kafka.create_topic(f"{unique_name}_copy")
        kafka.produce(unique_name, [f"{n}".encode() for n in range(1000)])
        way_in = {"brokers": kafka.secure_brokers, "tls": {"ca": str(authority.ca)}}

        def by(name: str) -> Options:
            return {**way_in, "sasl": {"mechanism": name, "user": USER, "password": PASSWORD}}

        config = configuration(
            tmp_path,
            sources={"in": {"plugin": "kafka_source", "topic": unique_name, **by("SCRAM-SHA-512")}},
            sinks={
                "out": {
                    "plugin": "kafka_sink", "from": "in", "topic": f"{unique_name}_copy", "format": "raw",
                    **by("SCRAM-SHA-256"),
                }
            },
        )  # fmt: skip
        with PipelineHost(config, tmp_path) as host:
            copied = kafka.consume(f"{unique_name}_copy", at_least=1000)
            assert sorted(int(m.value or b"") for m in copied) == list(range(1000))
            assert host.stop() == 0
        without_secrets(host.log())


# Error messages

SINK = {"out": {"plugin": "file_sink", "from": "in", "path": "out.ndjson"}}
SOURCE_OF_ROWS = {"in": {"plugin": "simulator_source", "count": 10}}


def _from(plugin: str, options: Options) -> Options:
    return {"sources": {"in": {"plugin": plugin, "topic": "devices", **options}}, "sinks": SINK}


def _to(plugin: str, options: Options) -> Options:
    return {"sources": SOURCE_OF_ROWS, "sinks": {"out": {"plugin": plugin, "from": "in", **options}}}


def _changed(options: Options, change: Callable[[Options], object]) -> Options:
    changed = copy.deepcopy(options)
    change(changed)
    return changed


def _kafka_faults(secure: SecureServers, untrusted: Authority) -> dict[str, Options]:
    good = secure.kafka_options()
    other = untrusted.client(USER)
    scram = {"mechanism": "SCRAM-SHA-512"}
    return {
        "password": _changed(good, lambda o: o["sasl"].update(password=WRONG)),
        "authority": _changed(good, lambda o: o["tls"].update(ca=str(untrusted.ca))),
        "host": _changed(good, lambda o: o.update(brokers=o["brokers"].replace("127.0.0.1", "localhost"))),
        "no certificate": _changed(good, lambda o: o["tls"].update(cert="", key="")),
        "a stranger's": _changed(good, lambda o: o["tls"].update(cert=str(other.cert), key=str(other.key))),
        "no tls": {"brokers": good["brokers"]},
        "no login": _changed(good, lambda o: o.pop("sasl")),
        "not a tls port": _changed(good, lambda o: o.update(brokers=secure.kafka.brokers)),
        "scram": _changed(good, lambda o: o["sasl"].update(scram)),
    }


def _mqtt_faults(secure: SecureServers, untrusted: Authority) -> dict[str, Options]:
    good, login = secure.mqtt_options(), secure.login_options()
    return {
        "password": _changed(login, lambda o: o.update(url=o["url"].replace(PASSWORD, WRONG))),
        "authority": _changed(good, lambda o: o["tls"].update(ca=str(untrusted.ca))),
        "host": _changed(good, lambda o: o.update(url=o["url"].replace("127.0.0.1", "localhost"))),
        "no certificate": _changed(good, lambda o: o["tls"].update(cert="", key="")),
        "no tls": {"url": good["url"].replace("mqtts:", "mqtt:")},
    }


def _database_faults(secure: SecureServers, untrusted: Authority, good: str) -> dict[str, Options]:
    ca = str(secure.authority.ca)
    urls = {
        "password": good.replace(PASSWORD, WRONG),
        "authority": good.replace(ca, str(untrusted.ca)),
        "host": good.replace("127.0.0.1", "localhost"),
        "no certificate": good.partition("&sslcert")[0],
        "no tls": good.partition("?")[0] + "?sslmode=disable",
    }
    return {name: {"url": url, "table": "t", "create": {}} for name, url in urls.items()}


# The texts that a message must contain: the cause and the remedy.
TO_DO: dict[tuple[str, str], list[str]] = {
    ("kafka", "password"): ["Invalid username or password", "'sasl.user', 'sasl.password'"],
    ("kafka", "authority"): ["unable to get local issuer", "check that 'tls.ca' is the authority"],
    ("kafka", "host"): ["hostname mismatch", "for another host than the one in 'brokers'"],
    ("kafka", "no certificate"): ["bad certificate", "set 'tls.cert' and 'tls.key'"],
    ("kafka", "a stranger's"): ["alert", "a client certificate that it trusts"],
    ("kafka", "no tls"): ["requires TLS ('tls')"],
    ("kafka", "no login"): ["SASL", "a login ('sasl')"],
    ("kafka", "not a tls port"): ["check that this port of the broker uses TLS"],
    ("mqtt", "password"): ["not authorized", "check `user` and `password`"],
    ("mqtt", "authority"): ["certificate", "`tls.ca` is the authority"],
    ("mqtt", "host"): ["hostname mismatch", "for another host than the one in `url`"],
    ("mqtt", "no certificate"): ["certificate required", "see `tls.cert` and `tls.key`"],
    ("mqtt", "no tls"): ["requires TLS (mqtts://)"],
    ("database", "password"): ["authentication failed", "the password in 'url'"],
    ("database", "authority"): ["certificate verify failed", "'sslrootcert' in 'url' is the authority"],
    ("database", "host"): ['does not match host name "localhost"', "for another host than the one in 'url'"],
    ("database", "no certificate"): ["certificate", "set 'sslcert' and 'sslkey' in 'url'"],
    ("database", "no tls"): ["'sslmode=verify-full' and 'sslrootcert' in 'url'"],
}
PLUGINS = {
    "kafka_source": "kafka", "kafka_sink": "kafka", "mqtt_source": "mqtt", "mqtt_sink": "mqtt",
    "timescale_sink": "database", "timescale_sink by PgBouncer": "database",
}  # fmt: skip
CASES = [(plugin, fault) for plugin, kind in PLUGINS.items() for k, fault in TO_DO if k == kind]


def _pipelines(secure: SecureServers, untrusted: Authority) -> dict[tuple[str, str], Options]:
    faults: dict[str, dict[str, Options]] = {
        "kafka_source": _kafka_faults(secure, untrusted),
        "kafka_sink": _kafka_faults(secure, untrusted),
        "mqtt_source": _mqtt_faults(secure, untrusted),
        "mqtt_sink": _mqtt_faults(secure, untrusted),
        "timescale_sink": _database_faults(secure, untrusted, secure.database.url()),
        "timescale_sink by PgBouncer": _database_faults(secure, untrusted, secure.pool.url()),
    }
    made: dict[tuple[str, str], Options] = {}
    for name, all_of in faults.items():
        plugin = name.partition(" ")[0]
        for fault, options in all_of.items():
            topic = {} if plugin == "timescale_sink" else {"topic": "devices"}
            whole = _from(plugin, options) if plugin.endswith("source") else _to(plugin, {**topic, **options})
            made[name, fault] = whole
    return made


@pytest.fixture(scope="module")
def output(
    secure: SecureServers, untrusted: Authority, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], str]:
    """The output of `validate --connect` for each fault.

    Some runs are parallel, because most wait for a time-out; with all of them at once, they would delay each other beyond
    the time-outs of connections.
    """
    secure.kafka.create_topic("devices")

    def validate(pipeline: Options) -> subprocess.CompletedProcess[str]:
        file = configuration(tmp_path_factory.mktemp("fault"), **pipeline)
        return subprocess.run(
            [PROGRAM, "validate", file, "--connect"], cwd=file.parent, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False,
        )  # fmt: skip

    pipelines = _pipelines(secure, untrusted)
    with ThreadPoolExecutor(8) as pool:
        done = dict(zip(pipelines, pool.map(validate, pipelines.values()), strict=True))
    assert {case for case, process in done.items() if process.returncode != 1} <= {
        (plugin, "scram") for plugin in ("kafka_source", "kafka_sink")
    }
    return {case: process.stdout for case, process in done.items()}


@pytest.mark.parametrize(("plugin", "fault"), CASES)
def test_a_fault_is_reported_with_the_server_and_the_option(
    plugin: str, fault: str, output: dict[tuple[str, str], str]
) -> None:
    text = output[plugin, fault]
    words = TO_DO[PLUGINS[plugin], fault]
    assert [word for word in words if word not in text] == [], text
    assert "127.0.0.1:" in text or "localhost:" in text
    without_secrets(text)
    problems = [line for line in text.splitlines() if "error: " in line or " warn " in line]
    assert len(problems) == 1, text


@pytest.mark.parametrize("plugin", ["kafka_source", "kafka_sink"])
def test_scram_works_or_librdkafka_is_reported_as_too_old_for_kafka_4(
    plugin: str, output: dict[tuple[str, str], str]
) -> None:
    text = output[plugin, "scram"]
    if mechanism() == "PLAIN":
        assert "cannot log in to Kafka 4 with SCRAM (2.6.1 can)" in text
    else:
        assert "all server checks passed" in text
    without_secrets(text)


# Recovery after the repair


def _wait_for_words(host: PipelineHost, words: list[str]) -> None:
    wait_until(lambda: all(word in host.log() for word in words), f"{words} in the log")


def _few(host: PipelineHost, begin: int) -> None:
    """Check that a host that cannot reach a server does not log this several times per second."""
    logged = [m for m in host.messages()[begin:] if m["level"] in ("warn", "warning", "error")]
    times = [datetime.fromisoformat(m["time"]) for m in logged]
    assert len(logged) <= 12 + (times[-1] - times[0]).total_seconds(), logged


def _expire(server: Kafka | PgBouncer | Mosquitto, secure: SecureServers) -> None:
    server.offer(secure.authority.server("127.0.0.1", expired=True))
    server.restart()


def _mend(server: Kafka | PgBouncer | Mosquitto, secure: SecureServers) -> None:
    server.offer(secure.good())
    server.restart()


def test_an_expired_certificate_of_kafka_is_reported_and_the_host_retries(
    secure: SecureServers, unique_name: str, tmp_path: Path
) -> None:
    secure.kafka.create_topic(unique_name)
    options = {"plugin": "kafka_source", "topic": unique_name, **secure.kafka_options()}
    config = configuration(tmp_path, sources={"in": options}, sinks=SINK)
    with PipelineHost(config, tmp_path) as host:
        secure.kafka.produce(unique_name, [b"1"])
        wait_until(lambda: len(ndjson(tmp_path / "out.ndjson")) == 1, "the first record")
        begin = len(host.messages())
        _expire(secure.kafka, secure)
        _wait_for_words(host, ["certificate has expired", "renew the broker's certificate"])
        _few(host, begin)
        _mend(secure.kafka, secure)
        secure.kafka.produce(unique_name, [b"2"])
        wait_until(lambda: len(ndjson(tmp_path / "out.ndjson")) == 2, "the second record")
        assert host.stop() == 0
    without_secrets(host.log())


def test_an_expired_certificate_of_the_database_is_reported_and_the_host_retries(
    secure: SecureServers, unique_name: str, tmp_path: Path
) -> None:
    secure.database.create_database(unique_name)
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "simulator_source", "count": 8000, "rate": 800}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "in"}},
        sinks={
            "out": {
                "plugin": "timescale_sink", "from": "parsed", "url": secure.pool.url(unique_name),
                "table": "raw_telemetry", "create": {},
            }
        },
    )  # fmt: skip
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: host.metric("pipeline_records_out_total", node="out") > 0, "some rows")
        begin = len(host.messages())
        _expire(secure.pool, secure)
        _wait_for_words(host, ["certificate verify failed", "has not expired"])
        _few(host, begin)
        _mend(secure.pool, secure)
        assert host.wait() == 0
    # The simulator cannot replay records, so records in flight are stored twice.
    count = "SELECT count(DISTINCT (device_id, time)) FROM raw_telemetry"
    assert secure.database.query(count, database=unique_name) == [(8000,)]
    without_secrets(host.log())


def test_an_expired_certificate_of_the_mqtt_broker_is_reported_and_the_host_retries(
    secure: SecureServers, unique_name: str, tmp_path: Path
) -> None:
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "mqtt_source", "topic": f"{unique_name}/in", **secure.mqtt_options()}},
        sinks={
            "out": {"plugin": "mqtt_sink", "from": "in", "topic": f"{unique_name}/out", "payload": "{value}",
                    **secure.mqtt_options()}
        },
    )  # fmt: skip
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        with secure.broker.subscribe(f"{unique_name}/out") as out:
            secure.broker.publish(f"{unique_name}/in", b"1")
            out.wait_for(1)
        begin = len(host.messages())
        _expire(secure.broker, secure)
        _wait_for_words(host, ["certificate has expired", "renew the broker's certificate"])
        _few(host, begin)
        _mend(secure.broker, secure)
        wait_until(lambda: host.metric("pipeline_mqtt_source_connected") == 1, "the source to connect again")
        with secure.broker.subscribe(f"{unique_name}/out") as out:
            secure.broker.publish(f"{unique_name}/in", b"2")
            assert out.wait_for(1)[0].payload == b"2"
        assert host.stop() == 0
    without_secrets(host.log())


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("tls: {key: me.key}", "a key requires its certificate"),
        ("tls: {ca: nowhere.pem}", "cannot read nowhere.pem: No such file or directory"),
        ("tls: {cert: empty.pem}", "no private key in empty.pem"),
        ("sasl: {user: iot, mechanism: PLAIN, password: x}", "PLAIN sends the password unencrypted"),
        ("sasl: {user: iot}", "'password'"),
        ("sasl: {user: iot, password: x, mechanism: MD5}", "SCRAM-SHA-512"),
        ("tls: {}\n    properties: {ssl.ca.location: x}", "is set by the option 'tls'"),
    ],
)
def test_invalid_options_are_reported_with_their_place(options: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "p.yaml").write_text(
        f"name: test\nsources:\n  in:\n    plugin: kafka_source\n    brokers: 127.0.0.1:1\n    topic: t\n    {options}\n"
        "sinks:\n  out: {plugin: file_sink, from: in, path: out.ndjson}\n"
    )
    done = subprocess.run(
        [PROGRAM, "validate", "p.yaml", "--connect"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert ": error: " in done.stderr
    assert "p.yaml:7:" in done.stderr or "p.yaml:8:" in done.stderr
    assert message in done.stderr
