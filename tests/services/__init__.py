"""Real servers for tests and demos, each on a free loopback port: see README.md."""

from .base import PATIENCE, Service, ServiceError, free_port, stop_all, wait_until
from .certificates import Authority, Certificate, Tls
from .hivemq import HiveMq
from .kafka import Kafka
from .libmosquitto import MqttMessage, Subscription
from .libpq import Session, SqlError
from .mosquitto import Mosquitto
from .mqtt_broker import MqttBroker
from .pgbouncer import PgBouncer
from .postgres import Postgres, Timescale
from .rdkafka import Committed, KafkaError, Message, Record

__all__ = [
    "PATIENCE",
    "Authority",
    "Certificate",
    "Committed",
    "HiveMq",
    "Kafka",
    "KafkaError",
    "Message",
    "Mosquitto",
    "MqttBroker",
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
    "Tls",
    "free_port",
    "stop_all",
    "wait_until",
]
