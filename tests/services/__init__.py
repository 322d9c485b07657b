"""Real servers for tests and demos, each on a free loopback port: see README.md."""

from .base import PATIENCE, Service, ServiceError, free_port, stop_all, wait_until
from .kafka import Kafka
from .libmosquitto import MqttMessage, Subscription
from .libpq import Session, SqlError
from .mosquitto import Mosquitto
from .pgbouncer import PgBouncer
from .postgres import Postgres, Timescale
from .rdkafka import Committed, KafkaError, Message, Record

__all__ = [
    "PATIENCE",
    "Committed",
    "Kafka",
    "KafkaError",
    "Message",
    "Mosquitto",
    "MqttMessage",
    "PgBouncer",
    "Postgres",
    "Record",
    "Service",
    "ServiceError",
    "Session",
    "SqlError",
    "Subscription",
    "Timescale",
    "free_port",
    "stop_all",
    "wait_until",
]
