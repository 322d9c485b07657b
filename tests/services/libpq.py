"""A PostgreSQL session through libpq, which comes with psql.

Faster than a psql for each query, tells NULL from '', and can keep a transaction open, as tests of
locks and lost connections need.
"""

from __future__ import annotations

import ctypes
import select
import time
from ctypes import POINTER, c_char_p, c_int, c_uint, c_void_p
from functools import cache
from types import TracebackType
from typing import Self

from .base import PATIENCE, ServiceError

Value = str | int | float | bool | None
Row = tuple[Value, ...]

_OK, _EMPTY, _COMMAND, _TUPLES = 0, 0, 1, 2
_SQLSTATE = ord("C")
_OnNotice = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
_ignore_notice = _OnNotice(lambda _context, _message: None)


class SqlError(ServiceError):
    """The database refused a statement, or the connection; `sqlstate` is empty for the latter."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL("libpq.so.5")
    texts = POINTER(c_char_p)
    for name, result, arguments in [
        ("PQconnectdb", c_void_p, [c_char_p]),
        ("PQfinish", None, [c_void_p]),
        ("PQstatus", c_int, [c_void_p]),
        ("PQerrorMessage", c_char_p, [c_void_p]),
        ("PQsetNoticeProcessor", c_void_p, [c_void_p, c_void_p, c_void_p]),
        ("PQsocket", c_int, [c_void_p]),
        ("PQsendQuery", c_int, [c_void_p, c_char_p]),
        (
            "PQsendQueryParams",
            c_int,
            [c_void_p, c_char_p, c_int, c_void_p, texts, c_void_p, c_void_p, c_int],
        ),
        ("PQconsumeInput", c_int, [c_void_p]),
        ("PQisBusy", c_int, [c_void_p]),
        ("PQgetResult", c_void_p, [c_void_p]),
        ("PQclear", None, [c_void_p]),
        ("PQresultStatus", c_int, [c_void_p]),
        ("PQresultErrorMessage", c_char_p, [c_void_p]),
        ("PQresultErrorField", c_char_p, [c_void_p, c_int]),
        ("PQntuples", c_int, [c_void_p]),
        ("PQnfields", c_int, [c_void_p]),
        ("PQftype", c_uint, [c_void_p, c_int]),
        ("PQgetisnull", c_int, [c_void_p, c_int, c_int]),
        ("PQgetvalue", c_char_p, [c_void_p, c_int, c_int]),
    ]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def _boolean(text: str) -> bool:
    return text == "t"


_readers = {16: _boolean, 20: int, 21: int, 23: int, 26: int, 700: float, 701: float}


class Session:
    """One connection. Numbers and booleans come back as such, NULL as None, the rest as text."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self._lib = _library()
        separator = "&" if "?" in url else "?"
        self._connection = self._lib.PQconnectdb(
            f"{url}{separator}connect_timeout={max(2, round(timeout))}".encode()
        )
        if self._lib.PQstatus(self._connection) != _OK:
            error = self._error()
            self.close()
            raise error
        self._lib.PQsetNoticeProcessor(self._connection, _ignore_notice, None)

    def query(self, sql: str, *parameters: object, timeout: float = PATIENCE) -> list[Row]:
        """The rows of the (last) statement. With parameters ($1, ...) it must be a single one."""
        self._send(sql, parameters)
        deadline = time.monotonic() + timeout
        rows: list[Row] = []
        failure: SqlError | None = None
        while result := self._next_result(deadline):
            try:
                rows = self._rows(result)
            except SqlError as error:
                failure = failure or error
            finally:
                self._lib.PQclear(result)
        if failure:
            raise failure
        return rows

    def execute(self, sql: str, *parameters: object, timeout: float = PATIENCE) -> None:
        """Runs statements whose rows, if any, are of no interest."""
        self.query(sql, *parameters, timeout=timeout)

    def close(self) -> None:
        if self._connection:
            self._lib.PQfinish(self._connection)
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, sql: str, parameters: tuple[object, ...]) -> None:
        if self._connection is None:
            raise SqlError("the session is closed")
        if parameters:
            texts = [None if value is None else str(value).encode() for value in parameters]
            values = (c_char_p * len(texts))(*texts)
            sent = self._lib.PQsendQueryParams(
                self._connection, sql.encode(), len(texts), None, values, None, None, 0
            )
        else:
            sent = self._lib.PQsendQuery(self._connection, sql.encode())
        if not sent:
            raise self._error()

    def _next_result(self, deadline: float) -> int | None:
        """Waits in Python rather than in libpq, so that a server that hangs can't hang the test."""
        while self._lib.PQisBusy(self._connection):
            left = deadline - time.monotonic()
            if (
                left <= 0
                or not select.select([self._lib.PQsocket(self._connection)], [], [], left)[0]
            ):
                self.close()
                raise SqlError("no answer in time; the session is closed")
            if not self._lib.PQconsumeInput(self._connection):
                raise self._error()
        return self._lib.PQgetResult(self._connection)  # type: ignore[no-any-return]

    def _rows(self, result: int) -> list[Row]:
        status = self._lib.PQresultStatus(result)
        if status not in (_EMPTY, _COMMAND, _TUPLES):
            state = self._lib.PQresultErrorField(result, _SQLSTATE) or b""
            message = self._lib.PQresultErrorMessage(result).decode(errors="replace").strip()
            raise SqlError(message or f"unexpected result status {status}", state.decode())
        columns = range(self._lib.PQnfields(result))
        readers = [_readers.get(self._lib.PQftype(result, column), str) for column in columns]
        return [
            tuple(self._value(result, row, column, readers[column]) for column in columns)
            for row in range(self._lib.PQntuples(result))
        ]

    def _value(self, result: int, row: int, column: int, reader: type | object) -> Value:
        if self._lib.PQgetisnull(result, row, column):
            return None
        text = self._lib.PQgetvalue(result, row, column).decode()
        return reader(text)  # type: ignore[operator,no-any-return]

    def _error(self) -> SqlError:
        message = self._lib.PQerrorMessage(self._connection).decode(errors="replace")
        return SqlError(message.strip() or "the connection is lost")
