"""PgBouncer in front of a database."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import HOST, Service, find_program
from .certificates import Certificate, Tls, copy
from .libpq import Row
from .postgres import Postgres, SqlEndpoint


class PgBouncer(SqlEndpoint, Service):
    """Pools connections to each database of a server, by transaction if not told otherwise.

    It knows one user, `postgres`, with the server's password if that has one. A server with TLS gets
    connections by TLS, and is checked. With `tls` clients need it, too; `Tls.own` as for the server.
    `settings` are lines of pgbouncer.ini. The server may be down when this starts.
    """

    name = "pgbouncer"  # SIGTERM ends it at once, SIGINT would wait for its clients

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
            # By default a client waits for a database that is down as long as it is down.
            "server_connect_timeout": "5",
            "server_login_retry": "1",
            **(settings or {}),
        }

    def admin(self, command: str) -> list[Row]:
        """A command of its console: SHOW POOLS, PAUSE, RELOAD, ..."""
        return self.query(command, database="pgbouncer")

    def offer(self, certificate: Certificate) -> None:
        """Shows another certificate from the next start on."""
        certificate.copy_to(self._file("client.pem"), self._file("client.key"), owner=_owner())

    def _tls_settings(self) -> dict[str, str]:
        """On both sides; the files belong to the user that it runs as."""
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
        # It refuses to run as root.
        user = ["-u", "postgres"] if os.geteuid() == 0 else []
        return [find_program("pgbouncer"), *user, self._configuration]

    def _answers(self) -> bool:
        return self._replies("SHOW VERSION", "pgbouncer")

    @property
    def _configuration(self) -> Path:
        return self.directory / "pgbouncer.ini"


def _owner() -> tuple[int, int] | None:
    """The user that it runs as, where that is another than ours."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("postgres")
    return user.pw_uid, user.pw_gid
