"""PgBouncer in front of a database."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import HOST, Service, find_program
from .certificates import Certificate, Tls, copy
from .postgres import Postgres, SqlEndpoint
from .sql_session import Row


class PgBouncer(SqlEndpoint, Service):
    """Pools connections to each database of a server, by default by transaction.

    The only user is `postgres`, with the server's password if there is one. Connections to a server with TLS use TLS
    and verify the certificate. With `tls` clients need TLS, too; `Tls.own` works as for the server. `settings` are
    lines of pgbouncer.ini. The server may be down when PgBouncer starts.
    """

    name = "pgbouncer"  # SIGTERM ends it immediately; SIGINT would wait for its clients

    def __init__(
        self,
        server: Postgres,
        *,
        port: int | None = None,
        pool_size: int = 20,
        pool_mode: str = "transaction",
        tls: Tls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port=port)
        self.password = server.password
        self.database = server.database
        self.tls = tls
        self._server = server
        self._settings = {
            "listen_addr": HOST,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256" if server.password else "trust",
            "admin_users": "postgres",
            "pool_mode": pool_mode,
            "default_pool_size": str(pool_size),
            "max_client_conn": "500",
            # By default a client waits without limit for a database that is down.
            "server_connect_timeout": "5",
            "server_login_retry": "1",
            **(settings or {}),
        }

    def admin(self, command: str) -> list[Row]:
        """Run a command of the admin console (SHOW POOLS, PAUSE, RELOAD, ...) and return its rows."""
        return self.query(command, database="pgbouncer")

    def offer(self, certificate: Certificate) -> None:
        """Present another certificate from the next start on."""
        certificate.copy_to(self._file("client.pem"), self._file("client.key"), owner=_owner())

    def _tls_settings(self) -> dict[str, str]:
        """Return the TLS settings of both sides. The files belong to the user that PgBouncer runs as."""
        settings: dict[str, str] = {}
        if self.tls:
            self.offer(self.tls.certificate)
            settings |= self._copied("client_tls_ca_file", self.tls.authority.ca)
            settings["client_tls_sslmode"] = "verify-full" if self.tls.own else "require"
            settings["client_tls_cert_file"] = str(self._file("client.pem"))
            settings["client_tls_key_file"] = str(self._file("client.key"))
        if tls := self._server.tls:
            settings |= self._copied("server_tls_ca_file", tls.authority.ca)
            settings["server_tls_sslmode"] = "verify-full"
            if tls.own:
                settings |= self._copied("server_tls_cert_file", tls.own.cert)
                settings |= self._copied("server_tls_key_file", tls.own.key)
        return settings

    def _copied(self, setting: str, file: Path) -> dict[str, str]:
        copy(file, self._file(setting), owner=_owner())
        return {setting: str(self._file(setting))}

    def _file(self, name: str) -> Path:
        return self.directory / name

    def _prepare(self) -> None:
        users = self.directory / "users.txt"
        password = (self.password or "").replace('"', '""')
        users.write_text(f'"postgres" "{password}"\n')
        lines = [
            "[databases]",
            f"* = host={HOST} port={self._server.port}",
            "[pgbouncer]",
            f"auth_file = {users}",
            *(f"{key} = {value}" for key, value in (self._tls_settings() | self._settings).items()),
        ]
        configuration = self._configuration
        configuration.write_text("\n".join(lines) + "\n")
        for path in (users, configuration):
            path.chmod(0o600)
            if owner := _owner():
                os.chown(path, *owner)

    def _command(self) -> Sequence[str | Path]:
        # PgBouncer refuses to run as root.
        user = ["-u", "postgres"] if os.geteuid() == 0 else []
        return [find_program("pgbouncer"), *user, self._configuration]

    def _responds(self) -> bool:
        return self._replies("SHOW VERSION", "pgbouncer")

    @property
    def _configuration(self) -> Path:
        return self.directory / "pgbouncer.ini"


def _owner() -> tuple[int, int] | None:
    """Return the user that PgBouncer runs as, if that differs from the current user."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("postgres")
    return user.pw_uid, user.pw_gid
