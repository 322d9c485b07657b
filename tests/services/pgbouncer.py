"""PgBouncer in front of a database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import HOST, Service, find_program
from .libpq import Row
from .postgres import Postgres, SqlEndpoint


class PgBouncer(SqlEndpoint, Service):
    """Pools connections to each database of a server, by transaction if not told otherwise.

    It knows one user, `postgres`, with the server's password if that has one. `settings` are lines
    of pgbouncer.ini. The server may be down when this starts.
    """

    name = "pgbouncer"  # SIGTERM ends it at once, SIGINT would wait for its clients

    def __init__(
        self,
        server: Postgres,
        *,
        port: int | None = None,
        pool_size: int = 20,
        pool_mode: str = "transaction",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port=port)
        self.password = server.password
        self.database = server.database
        self._server_port = server.port
        self._settings = {
            "listen_addr": HOST,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256" if server.password else "trust",
            "admin_users": "postgres",
            "pool_mode": pool_mode,
            "default_pool_size": str(pool_size),
            "max_client_conn": "500",
            # By default a client waits for a database that is down as long as it is down.
            "server_connect_timeout": "5",
            "server_login_retry": "1",
            **(settings or {}),
        }

    def admin(self, command: str) -> list[Row]:
        """A command of its console: SHOW POOLS, PAUSE, RELOAD, ..."""
        return self.query(command, database="pgbouncer")

    def _prepare(self) -> None:
        users = self.directory / "users.txt"
        password = (self.password or "").replace('"', '""')
        users.write_text(f'"postgres" "{password}"\n')
        lines = [
            "[databases]",
            f"* = host={HOST} port={self._server_port}",
            "[pgbouncer]",
            f"auth_file = {users}",
            *(f"{key} = {value}" for key, value in self._settings.items()),
        ]
        configuration = self._configuration
        configuration.write_text("\n".join(lines) + "\n")
        for path in (users, configuration):
            path.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(path, "postgres", "postgres")

    def _command(self) -> Sequence[str | Path]:
        # It refuses to run as root.
        user = ["-u", "postgres"] if os.geteuid() == 0 else []
        return [find_program("pgbouncer"), *user, self._configuration]

    def _answers(self) -> bool:
        return self._replies("SHOW VERSION", "pgbouncer")

    @property
    def _configuration(self) -> Path:
        return self.directory / "pgbouncer.ini"
