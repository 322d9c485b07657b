"""Starts services in the foreground, for a demo or for development: see README.md."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from . import Kafka, Mosquitto, PgBouncer, Postgres, Service, ServiceError, Timescale, stop_all

S = TypeVar("S", bound=Service)

_stopping = (signal.SIGINT, signal.SIGTERM)
_names = ("kafka", "timescale", "postgres", "pgbouncer", "mosquitto")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Both signals lead to the `finally` below. A second signal changes nothing, since the servers must stop.
    for number in _stopping:
        signal.signal(number, _interrupt)
    try:
        ports = _ports(options.services)
        variables = _start(ports)
        _announce(variables, options.env)
        if options.command == "up":
            _wait_for_a_signal()
    except KeyboardInterrupt:
        return 0
    except ServiceError as error:
        print(f"services: error: {error}", file=sys.stderr)
        return 1
    finally:
        for number in _stopping:
            signal.signal(number, signal.SIG_IGN)
        stop_all()
        if options.env:
            options.env.unlink(missing_ok=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m services", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in [
        ("up", "start services, print their addresses, stop them at Ctrl-C or SIGTERM"),
        ("check", "start services once and stop them, to fill the cache and to find missing packages"),
    ]:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "services", nargs="+", metavar="NAME[=PORT]", help=f"any of {', '.join(_names)}"
        )
        command.add_argument(
            "--env",
            type=Path,
            metavar="FILE",
            help="also write the addresses to FILE when all services run",
        )
    return parser


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _wait_for_a_signal() -> None:
    # Block the signals first, so that none arrives unnoticed before the wait. Servers would inherit the mask, so do not
    # block the signals earlier.
    signal.pthread_sigmask(signal.SIG_BLOCK, _stopping)
    signal.sigwait(_stopping)


def _ports(words: Sequence[str]) -> dict[str, int | None]:
    """Return the requested services with their requested ports."""
    ports: dict[str, int | None] = {}
    for word in words:
        name, _, port = word.partition("=")
        if name not in _names:
            raise ServiceError(f"unknown service {name} (one of: {', '.join(_names)})")
        if port and not port.isdigit():
            raise ServiceError(f"{word}: the port is not a number")
        ports[name] = int(port) if port else None
    if "timescale" in ports and "postgres" in ports:
        raise ServiceError("start timescale or postgres, not both: there is only one DATABASE_URL")
    if "pgbouncer" in ports and not {"timescale", "postgres"} & set(ports):
        raise ServiceError("pgbouncer needs timescale or postgres behind it")
    return ports


def _start(ports: Mapping[str, int | None]) -> dict[str, str]:
    """Start the services and return the variables with their addresses."""
    variables: dict[str, str] = {}
    if "kafka" in ports:
        kafka = _started(Kafka(port=ports["kafka"]))
        variables["KAFKA_BROKERS"] = kafka.brokers
    makers: dict[str, Callable[..., Postgres]] = {"timescale": Timescale, "postgres": Postgres}
    for name, make in makers.items():
        if name in ports:
            database = _started(make(port=ports[name]))
            variables["DATABASE_URL"] = database.url()
            if "pgbouncer" in ports:
                pool = _started(PgBouncer(database, port=ports["pgbouncer"]))
                variables["DATABASE_DIRECT_URL"] = database.url()
                variables["DATABASE_URL"] = pool.url()
    if "mosquitto" in ports:
        mosquitto = _started(Mosquitto(port=ports["mosquitto"]))
        variables["MQTT_URL"] = mosquitto.url()
    return variables


def _started(service: S) -> S:
    print(f"services: starting {service.name} on port {service.port}", file=sys.stderr)
    return service.start()


def _announce(variables: Mapping[str, str], file: Path | None) -> None:
    text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
    print(text, end="", flush=True)
    if file:
        # Rename in one step: a reader may read the file as soon as it exists.
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        unfinished.write_text(text)
        unfinished.rename(file)


if __name__ == "__main__":
    sys.exit(main())
