"""Real servers for tests and demos, each on a free loopback port: see README.md."""

from .base import TIMEOUT, Service, ServiceError, free_port, stop_all, wait_until
from .certificates import Authority, Certificate, Tls
from .committed import Committed
from .hivemq import HiveMq
from .kafka import Kafka
from .kafka_client import KafkaError, Message, Record
from .mosquitto import Mosquitto
from .mqtt_broker import MqttBroker
from .mqtt_client import MqttMessage, Subscription
from .pgbouncer import PgBouncer
from .postgres import Postgres, Timescale
from .sql_session import Session, SqlError
from .tcp_proxy import TcpProxy
from .worker import Worker

__all__ = [
    "TIMEOUT",
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
    "TcpProxy",
    "Timescale",
    "Tls",
    "Worker",
    "free_port",
    "stop_all",
    "wait_until",
]
