"""A PostgreSQL session that tests can keep open, through psycopg2."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2 import extensions

from .base import TIMEOUT, ServiceError

Value = str | int | float | bool | None
Row = tuple[Value, ...]

# bool, int8, int2, int4, oid, float4, float8. Every other type that psycopg2 converts stays text.
_converted = {16, 20, 21, 23, 26, 700, 701}
_as_text = extensions.new_type(
    tuple(set(extensions.string_types) - _converted), "AS_TEXT", lambda text, _cursor: text
)


class SqlError(ServiceError):
    """The database rejected a statement, or the connection, in which case `sqlstate` is empty."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@contextlib.contextmanager
def _sql_errors() -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        message = (error.pgerror or str(error)).strip()
        raise SqlError(message or "the connection is lost", error.pgcode or "") from error


class Session:
    """One connection, in autocommit mode; a transaction begins with BEGIN.

    Numbers and booleans are returned as such, NULL as None, all other values as text.
    """

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        with _sql_errors():
            # Use an asynchronous connection, which has time-outs: a server that hangs must not hang the test.
            self._connection = psycopg2.connect(url, async_=True)
            try:
                self._wait(timeout)
            except psycopg2.Error:
                self.close()
                raise
            extensions.register_type(_as_text, self._connection)

    def query(self, sql: str, *parameters: object, timeout: float = TIMEOUT) -> list[Row]:
        """Return the rows of the (last) statement.

        Each %s stands for a parameter. With parameters, a literal % is written as %%.
        """
        with _sql_errors():
            cursor = self._connection.cursor()
            cursor.execute(sql, parameters or None)
            self._wait(timeout)
            return cursor.fetchall() if cursor.description else []

    def execute(self, sql: str, *parameters: object, timeout: float = TIMEOUT) -> None:
        """Run statements and ignore their rows."""
        self.query(sql, *parameters, timeout=timeout)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while (state := self._connection.poll()) != extensions.POLL_OK:
            socket = [self._connection.fileno()]
            sockets = (socket, []) if state == extensions.POLL_READ else ([], socket)
            left = max(0, deadline - time.monotonic())
            if not any(select.select(*sockets, [], left)):
                self.close()
                raise SqlError("no response in time; the session is closed")
