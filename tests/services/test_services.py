"""Tests of the services: each starts, keeps its data after a kill, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import (
    TIMEOUT,
    Authority,
    HiveMq,
    Kafka,
    KafkaError,
    Mosquitto,
    PgBouncer,
    Postgres,
    Record,
    Service,
    ServiceError,
    SqlError,
    Timescale,
    Tls,
    Worker,
    debian,
    free_port,
    processes,
    wait_until,
)
from .cache import Run, made_once
from .kafka import OLDER_VERSION

_tests = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def _python(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python in the folder of the tests. The process ends with the block, at the latest."""
    with subprocess.Popen([sys.executable, *arguments], cwd=_tests, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


# Kafka


def test_kafka_returns_arbitrary_bytes_nulls_headers_and_times(
    kafka: Kafka, unique_name: str
) -> None:
    every_byte = bytes(range(256))
    kafka.create_topic(unique_name)
    kafka.produce(
        unique_name,
        [
            every_byte,
            b"",
            None,
            ("key", "text"),
            (b"", b"an empty key"),
            (b"tombstone", None),
            Record(every_byte, every_byte, (("h", b"\0\n"), ("h", None), ("e", b"")), 0, 1234567),
        ],
        partition=0,
    )
    messages = kafka.consume(unique_name)
    assert [(m.key, m.value) for m in messages] == [
        (None, every_byte),
        (None, b""),
        (None, None),
        (b"key", b"text"),
        (b"", b"an empty key"),
        (b"tombstone", None),
        (every_byte, every_byte),
    ]
    assert [m.offset for m in messages] == list(range(7))
    assert messages[6].headers == (("h", b"\0\n"), ("h", None), ("e", b""))
    assert messages[6].timestamp_ms == 1234567
    assert messages[0].headers == ()


def test_kafka_keeps_the_order_of_many_messages_within_a_partition(
    kafka: Kafka, unique_name: str
) -> None:
    kafka.create_topic(unique_name, partitions=4)
    count = 250_000
    produced = kafka.produce(
        unique_name,
        ((str(n % 90), str(n)) for n in range(count)),
        config={"compression.type": "lz4"},
    )
    assert produced == count
    assert sum(kafka.end_offsets(unique_name).values()) == count
    seen: dict[int, list[int]] = {}
    for message in kafka.consume(unique_name, at_least=count):
        seen.setdefault(message.partition, []).append(int(message.value or b""))
    assert sorted(n for numbers in seen.values() for n in numbers) == list(range(count))
    assert all(numbers == sorted(numbers) for numbers in seen.values())


def test_kafka_reports_messages_that_the_broker_rejected(kafka: Kafka, unique_name: str) -> None:
    kafka.create_topic(unique_name, config={"max.message.bytes": 1000})
    with pytest.raises(KafkaError, match="too large"):
        kafka.produce(unique_name, [b"x" * 2000])
    with pytest.raises(KafkaError, match="Unknown topic"):
        kafka.produce(f"{unique_name}_missing", [b"x"])


def test_kafka_topics_can_be_truncated_deleted_and_created_again(kafka: Kafka, unique_name: str) -> None:
    kafka.create_topic(unique_name, partitions=2)
    with pytest.raises(KafkaError, match="already exists"):
        kafka.create_topic(unique_name, partitions=2)
    kafka.produce(unique_name, [b"x"] * 10, partition=1)
    kafka.delete_records(unique_name, {1: 4})
    assert kafka.begin_offsets(unique_name) == {0: 0, 1: 4}
    assert [m.offset for m in kafka.consume(unique_name)] == list(range(4, 10))
    kafka.delete_topic(unique_name)
    kafka.create_topic(unique_name, partitions=3)
    assert kafka.end_offsets(unique_name) == {0: 0, 1: 0, 2: 0}


def test_the_standard_tool_resets_kafka_offsets(kafka: Kafka, unique_name: str) -> None:
    kafka.create_topic(unique_name, partitions=2)
    kafka.produce(unique_name, [b"x"] * 10, partition=0)
    assert kafka.group_offsets(unique_name) == {}
    kafka.reset_offsets(unique_name, unique_name, "--to-latest")
    kafka.reset_offsets(unique_name, f"{unique_name}:0", "--shift-by", "-3")
    offsets = {place: done.offset for place, done in kafka.group_offsets(unique_name).items()}
    assert offsets == {(unique_name, 0): 7, (unique_name, 1): 0}
    with pytest.raises(KafkaError):
        kafka.reset_offsets(unique_name, f"{unique_name}_missing", "--to-latest")


def test_kafka_rejects_an_offset_reset_of_a_group_with_members(kafka: Kafka, unique_name: str) -> None:
    kafka.create_topic(unique_name)
    kafka.produce(unique_name, [b"x"])
    options = ["-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=100"]
    member = ["kcat", "-q", "-b", kafka.brokers, *options, "-G", unique_name, unique_name]
    with subprocess.Popen(member, stdout=subprocess.DEVNULL) as kcat:
        try:
            wait_until(lambda: kafka.group_offsets(unique_name), "a committed offset")
            with pytest.raises(KafkaError, match="inactive"):
                kafka.reset_offsets(unique_name, unique_name, "--to-earliest")
        finally:
            kcat.kill()


def test_kafka_with_tls_accepts_only_its_users(authority: Authority, unique_name: str) -> None:
    own = authority.client("me")
    secured = Tls(authority, own=own)
    with Kafka(tls=secured, users={"iot": "s3cret"}, version=OLDER_VERSION) as kafka:
        kafka.create_topic(unique_name)
        kafka.produce(unique_name, [b"x"])
        secure = {
            "bootstrap.servers": kafka.secure_brokers,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": authority.ca,
            "ssl.certificate.location": own.cert,
            "ssl.key.location": own.key,
            "sasl.username": "iot",
            "sasl.password": "s3cret",
        }
        for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"):
            read = kafka.consume(unique_name, config={**secure, "sasl.mechanism": mechanism})
            assert [m.value for m in read] == [b"x"]
        for wrong in ({"sasl.password": "wrong"}, {"ssl.certificate.location": "", "ssl.key.location": ""}):
            config = {**secure, "sasl.mechanism": "SCRAM-SHA-512", **wrong}
            with pytest.raises((KafkaError, TimeoutError)):
                kafka.consume(unique_name, timeout=3, config=config)


def test_kafka_keeps_topics_and_offsets_after_a_restart_and_a_kill(unique_name: str) -> None:
    with Kafka() as kafka:
        brokers = kafka.brokers
        kafka.create_topic(unique_name)
        kafka.produce(unique_name, [b"1"])
        kafka.restart()
        kafka.produce(unique_name, [b"2"])
        kafka.kill()
        assert not kafka.running
        kafka.start()
        assert kafka.brokers == brokers
        kafka.produce(unique_name, [b"3"])
        assert [m.value for m in kafka.consume(unique_name)] == [b"1", b"2", b"3"]


# Databases


@pytest.fixture(params=["timescale", "postgres"])
def server(request: pytest.FixtureRequest) -> Postgres:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Postgres)
    return found


def test_a_database_returns_rows_with_their_types(server: Postgres, unique_name: str) -> None:
    server.create_database(unique_name)
    server.execute(
        "CREATE TABLE t (i bigint, f float8, b boolean, s text); "
        "INSERT INTO t VALUES (1, 0.5, true, E'tab\\tnew\\nline'), (NULL, NULL, NULL, '')",
        database=unique_name,
    )
    rows = server.query("SELECT * FROM t ORDER BY i", database=unique_name)
    assert rows == [(1, 0.5, True, "tab\tnew\nline"), (None, None, None, "")]
    hostile = "Robert'); DROP TABLE t;--\\"
    assert server.query("SELECT %s, %s::int", hostile, None) == [(hostile, None)]
    with pytest.raises(SqlError) as error:
        server.query("SELECT * FROM missing")
    assert error.value.sqlstate == "42P01"
    server.drop_database(unique_name)


def test_a_database_is_durable_by_default(server: Postgres) -> None:
    assert server.query("SHOW fsync") == [("on",)]
    assert server.query("SHOW full_page_writes") == [("on",)]


def test_timescale_creates_hypertables(timescale: Timescale, database: str) -> None:
    timescale.execute(
        "CREATE TABLE raw (time timestamptz NOT NULL, v int); "
        "SELECT create_hypertable('raw', 'time'); "
        "INSERT INTO raw SELECT '2026-01-01'::timestamptz + n * interval '1 day', n "
        "FROM generate_series(1, 100) n",
        database=database,
    )
    query = "SELECT count(*) FROM timescaledb_information.chunks"
    assert timescale.query(query, database=database) == [(15,)]
    assert timescale.query("SHOW server_version_num")[0][0] >= "170000"  # type: ignore[operator]


@pytest.mark.parametrize("make", [Timescale, Postgres])
def test_a_database_keeps_committed_rows_after_a_kill_in_a_transaction(
    make: Callable[[], Postgres],
) -> None:
    with make() as server:
        server.execute("CREATE TABLE t (v int); INSERT INTO t VALUES (1)")
        with server.session() as session:
            session.execute("BEGIN; INSERT INTO t VALUES (2)")
            workers = processes.tree(server.pid)
            assert len(workers) > 2
            server.kill()
            assert not any(processes.alive(pid) for pid in workers)
            with pytest.raises(SqlError):
                session.execute("COMMIT")
        server.start()
        assert server.query("SELECT v FROM t") == [(1,)]
        server.restart()
        assert server.query("SELECT v FROM t") == [(1,)]


@pytest.mark.parametrize("make", [Timescale, Postgres])
def test_a_database_with_a_password_rejects_wrong_passwords_and_accepts_the_pool(
    make: Callable[..., Postgres],
) -> None:
    password = "it's a 'pass' wörd@/:%\\"
    with make(password=password, fsync=False, settings={"work_mem": "7MB"}) as server:
        assert server.query("SELECT 1") == [(1,)]
        assert server.query("SHOW fsync") == [("off",)]
        assert server.query("SHOW work_mem") == [("7MB",)]
        with PgBouncer(server) as pool:
            assert pool.query("SELECT 1") == [(1,)]
            for endpoint in (server, pool):
                endpoint.password = "wrong"
                with pytest.raises(SqlError):
                    endpoint.query("SELECT 1")


@pytest.mark.parametrize("make", [Timescale, Postgres])
def test_a_database_with_tls_rejects_clients_without_a_certificate(
    make: Callable[..., Postgres], authority: Authority
) -> None:
    secured = Tls(authority, own=authority.client("postgres"))
    with make(password="secret", fsync=False, tls=secured) as server:
        how = "SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert server.query(how) == [(True, "/CN=postgres")]
        with PgBouncer(server, tls=secured) as pool:
            assert pool.query(how) == [(True, "/CN=postgres")]
            for endpoint in (server, pool):
                endpoint.tls = Tls(authority)
                with pytest.raises(SqlError, match="certificate"):
                    endpoint.query("SELECT 1")
                endpoint.tls = None
                with pytest.raises(SqlError, match="certificate|SSL|encryption"):
                    endpoint.query("SELECT 1")


def test_a_paused_database_hangs_and_continues() -> None:
    with Postgres() as server:
        with server.session() as waiting:
            server.pause()
            with pytest.raises(SqlError, match="no response in time"):
                waiting.query("SELECT 1", timeout=0.5)
            server.resume()
        assert server.query("SELECT 1") == [(1,)]


def test_pgbouncer_shares_connections_by_transaction(
    pgbouncer: PgBouncer, timescale: Timescale
) -> None:
    backend = "SELECT pg_backend_pid()"
    with pgbouncer.session() as first, pgbouncer.session() as second:
        assert first.query(backend) == second.query(backend)
        first.execute("BEGIN")
        assert first.query(backend) != second.query(backend)
        first.execute("ROLLBACK")
    version = timescale.query("SHOW server_version")
    assert pgbouncer.query("SHOW server_version") == version
    assert any(row[0] == pgbouncer.database for row in pgbouncer.admin("SHOW POOLS"))


def test_pgbouncer_starts_again_on_its_port() -> None:
    with Postgres() as server, PgBouncer(server, pool_size=1, pool_mode="session") as pool:
        with pool.session() as session:
            session.query("SELECT 1")
            pool.kill()
            with pytest.raises(SqlError):
                session.query("SELECT 1")
        with pytest.raises(SqlError):
            pool.query("SELECT 1")
        pool.start()
        assert pool.query("SELECT 1") == [(1,)]


# MQTT


def test_mosquitto_delivers_any_topic_and_any_bytes(
    mosquitto: Mosquitto, unique_name: str
) -> None:
    every_byte = bytes(range(256))
    sent = [(f"{unique_name}/a b/ü/\"'\\", every_byte), (f"{unique_name}/empty", b"")]
    with mosquitto.subscribe([f"{unique_name}/#", "another/+"], qos=1) as subscription:
        mosquitto.publish_all(sent)
        mosquitto.publish(f"{unique_name}/text", "text", qos=0)
        received = subscription.wait_for(3)
    assert [(m.topic, m.payload) for m in received] == [*sent, (f"{unique_name}/text", b"text")]
    assert [m.qos for m in received] == [1, 1, 0]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_delivers_many_messages_in_order(
    mosquitto: Mosquitto, unique_name: str, qos: int
) -> None:
    with mosquitto.subscribe(f"{unique_name}/#", qos) as subscription:
        mosquitto.publish_all(((f"{unique_name}/t", b"%d" % n) for n in range(5000)), qos=qos)
        received = subscription.wait_for(5000)
    assert [int(m.payload) for m in received] == list(range(5000))


def test_mosquitto_with_a_password_and_tls_rejects_wrong_passwords(authority: Authority) -> None:
    with Mosquitto(user="us er", password="p:w/d", tls=Tls(authority)) as broker:
        assert broker.url() == f"mqtts://us%20er:p%3Aw%2Fd@127.0.0.1:{broker.port}"
        with broker.subscribe("t") as subscription:
            broker.publish("t", b"x")
            assert subscription.wait_for(1)[0].payload == b"x"
        broker._password = "wrong"
        with pytest.raises(ServiceError, match="(?i)not authori[sz]ed"):
            broker.publish("t", b"x")


def test_mosquitto_requires_client_certificates(authority: Authority) -> None:
    with Mosquitto(tls=Tls(authority, own=authority.client("me"))) as broker:
        with broker.subscribe("t") as subscription:
            broker.publish("t", b"x")
            assert subscription.wait_for(1)[0].payload == b"x"
        broker.tls = Tls(authority)
        with pytest.raises((ServiceError, TimeoutError)):
            broker.publish("t", b"x")


def test_hivemq_delivers_any_topic_and_any_bytes_and_rejects_wrong_passwords() -> None:
    with HiveMq(user="us er", password="p:w/d") as broker:
        with broker.subscribe("#", qos=2) as subscription:
            broker.publish_all([("ä/€ $", bytes(range(256))), ("empty", b"")], qos=2)
            broker.publish("kept", b"1", retain=True)
            messages = subscription.wait_for(3)
        assert [(m.topic, m.payload) for m in messages[:2]] == [("ä/€ $", bytes(range(256))), ("empty", b"")]
        broker._password = "wrong"
        with pytest.raises(ServiceError, match="(?i)not authori[sz]ed|bad user name"):
            broker.publish("t", b"x")


def test_hivemq_keeps_sessions_and_retained_messages_after_a_kill() -> None:
    with HiveMq() as broker:
        broker.publish("kept", b"retained", retain=True)
        broker.subscribe("t", client_id="lasting", clean=False).close()
        broker.publish("t", b"queued")
        broker.kill()
        broker.start()
        with broker.subscribe(["t", "kept"], client_id="lasting", clean=False) as subscription:
            payloads = {m.payload for m in subscription.wait_for(2)}
    assert payloads == {b"queued", b"retained"}


def test_mosquitto_keeps_a_persistent_session_after_a_restart() -> None:
    with Mosquitto(persistence=True) as broker:
        broker.publish("kept", b"retained", retain=True)
        broker.subscribe("t", client_id="lasting", clean=False).close()
        broker.publish("t", b"queued")
        broker.restart()
        with broker.subscribe(["t", "kept"], client_id="lasting", clean=False) as subscription:
            payloads = {m.payload for m in subscription.wait_for(2)}
    assert payloads == {b"queued", b"retained"}


def test_a_subscription_resumes_after_the_broker_was_killed() -> None:
    with Mosquitto() as broker, broker.subscribe("t") as subscription:
        broker.kill()
        wait_until(lambda: not subscription.connected, "the subscription to notice the lost connection")
        broker.start()
        subscription.wait_until_subscribed()
        broker.publish("t", b"after")
        assert subscription.wait_for(1)[0].payload == b"after"


# All services


def _all_services() -> list[Service]:
    postgres = Postgres()
    return [Kafka(), Timescale(), postgres, PgBouncer(postgres), Mosquitto(), HiveMq()]


@pytest.mark.parametrize("service", _all_services(), ids=lambda service: service.name)
def test_a_server_that_cannot_start_reports_the_reason(service: Service) -> None:
    taken = socket.create_server(("127.0.0.1", service.port))
    with taken, pytest.raises(ServiceError) as error:
        service.start()
    assert service.name in str(error.value)
    assert "in use" in str(error.value).lower()
    assert not service.running


def test_a_free_port_is_outside_of_the_range_of_outgoing_connections() -> None:
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    assert not any(int(first) <= port <= int(last) for port in ports)


def test_stop_removes_all_files_and_can_be_called_twice() -> None:
    server = Postgres().start()
    directory = server.directory
    server.kill()
    assert directory.exists()
    server.stop()
    server.stop()
    assert not directory.exists()


_victim = """
import json, sys, threading, time
from services import Kafka, Mosquitto, PgBouncer, Postgres, Timescale
places = []
def start():
    database = (Timescale if "all" in sys.argv else Postgres)().start()
    places.append((database.pid, str(database._data_from_outside())))
    for service in [PgBouncer(database), Mosquitto(), Kafka()][: 3 if "all" in sys.argv else 2]:
        service.start()
        places.append((service.pid, str(service.directory)))
# Servers must not end with the thread that started them.
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(0.2)
print(json.dumps(places), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "which"), [(signal.SIGKILL, "all"), (signal.SIGTERM, ""), (signal.SIGINT, "")]
)
def test_nothing_is_left_when_the_test_process_is_killed(
    number: signal.Signals, which: str
) -> None:
    with _python("-c", _victim, which) as victim:
        assert victim.stdout
        places = json.loads(victim.stdout.readline())
        assert len(places) == (4 if which == "all" else 3)
        assert all(processes.alive(pid) for pid, _ in places)
        everything = [pid for root, _ in places for pid in processes.tree(root)]
        segment = _segment(Path(places[0][1]))
        assert segment in _shared_memory()
        victim.send_signal(number)
        victim.wait(TIMEOUT)
        wait_until(lambda: not any(map(processes.alive, everything)), "all servers to end")
        wait_until(lambda: not any(Path(p).exists() for _, p in places), "all data to be removed")
    assert segment not in _shared_memory()


def _segment(data: Path) -> str:
    """Return the System V segment of a PostgreSQL server, from its own file."""
    return (data / "postmaster.pid").read_text().splitlines()[6].split()[1]


def _shared_memory() -> set[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


def test_concurrent_calls_make_a_cached_directory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_HOST_CACHE", str(tmp_path))
    made: list[Path] = []

    def make(directory: Path, run: Run) -> None:
        made.append(directory)
        run(["sleep", "0.2"])
        run(["touch", directory / "file"])

    workers = [Worker(lambda: made_once("thing", make)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.finish()
    assert len(made) == 1
    assert (tmp_path / "thing" / "file").exists()


def test_a_failed_make_reports_the_reason_and_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_HOST_CACHE", str(tmp_path))

    def fail(directory: Path, run: Run) -> None:
        (directory / "half").touch()
        run(["sh", "-c", "echo the reason; exit 3"])

    with pytest.raises(ServiceError, match="the reason"):
        made_once("thing", fail)
    assert not (tmp_path / "thing").exists()
    assert not list(made_once("thing", lambda _directory, _run: None).iterdir())


def test_the_mirror_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert debian.mirror().startswith(("http", "file"))
    monkeypatch.setenv("PIPELINE_HOST_DEBIAN_MIRROR", "file:///somewhere")
    assert debian.mirror() == "file:///somewhere"


# The command line


def test_up_prints_the_addresses_and_stops_all_services_at_a_signal(tmp_path: Path) -> None:
    env = tmp_path / "services.env"
    port = free_port()
    with _python("-m", "services", "up", f"mosquitto={port}", "postgres", "pgbouncer", "--env", str(env)) as up:
        wait_until(lambda: env.exists() or up.poll() is not None, "the services")
        lines = env.read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        assert list(variables) == ["DATABASE_URL", "DATABASE_DIRECT_URL", "MQTT_URL"]
        assert variables["MQTT_URL"] == f"mqtt://127.0.0.1:{port}"
        assert variables["DATABASE_URL"] != variables["DATABASE_DIRECT_URL"]
        everything = processes.tree(up.pid)
        assert len(everything) > 5
        up.terminate()
        printed, _ = up.communicate(timeout=TIMEOUT)
    assert printed.splitlines() == lines
    assert up.returncode == 0
    assert not env.exists()
    assert not any(map(processes.alive, everything))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kafak"], "unknown service kafak"),
        (["pgbouncer"], "pgbouncer needs"),
        (["timescale", "postgres"], "there is only one DATABASE_URL"),
        (["mosquitto=x"], "the port is not a number"),
    ],
)
def test_up_rejects_invalid_arguments(words: list[str], message: str) -> None:
    command = [sys.executable, "-m", "services", "up", *words]
    done = subprocess.run(command, cwd=_tests, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert message in done.stderr
