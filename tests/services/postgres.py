"""PostgreSQL from Debian, and TimescaleDB in a separate small Debian system."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from . import debian, instances
from .base import HOST, Service, ServiceError, run_tool
from .certificates import Certificate, Tls, copy
from .sql_session import Row, Session, SqlError

_server_folder = "/usr/lib/postgresql"
_in_chroot = Path("srv/pipeline-host")


class SqlEndpoint:
    """A server that speaks the PostgreSQL protocol on a port."""

    port: int
    password: str | None
    database: str
    tls: Tls | None

    def url(self, database: str | None = None) -> str:
        """Return a connection URL for the superuser; with TLS, the URL demands verification of the certificate."""
        if not self.tls:
            return self._url(database, {})
        trust = {"sslmode": "verify-full", "sslrootcert": self.tls.authority.ca}
        return self._url(database, {**trust, **self._own_certificate()})

    def _url(self, database: str | None, parameters: Mapping[str, str | Path]) -> str:
        password = f":{quote(self.password, safe='')}" if self.password else ""
        name = quote(database or self.database, safe="")
        words = "&".join(f"{key}={quote(str(value))}" for key, value in parameters.items())
        query = f"?{words}" if words else ""
        return f"postgresql://postgres{password}@{HOST}:{self.port}/{name}{query}"

    def _own_certificate(self) -> dict[str, str | Path]:
        own = self.tls.own if self.tls else None
        return {"sslcert": own.cert, "sslkey": own.key} if own else {}

    def session(self, database: str | None = None, timeout: float = 60.0) -> Session:
        """Return a connection that stays open, for transactions over several calls."""
        # Sessions do not verify the server's certificate; other tests do.
        mode = {"sslmode": "require"} if self.tls else {}
        return Session(self._url(database, {**mode, **self._own_certificate()}), timeout)

    def query(self, sql: str, *parameters: object, database: str | None = None) -> list[Row]:
        """Run a statement on a new connection and return its rows."""
        with self.session(database) as session:
            return session.query(sql, *parameters)

    def execute(self, sql: str, *parameters: object, database: str | None = None) -> None:
        """Run one statement, or several without parameters, on a new connection."""
        self.query(sql, *parameters, database=database)

    def _replies(self, sql: str, database: str) -> bool:
        try:
            with self.session(database, timeout=5) as session:
                return bool(session.query(sql, timeout=5))
        except SqlError:
            return False


class Postgres(SqlEndpoint, Service):
    """Debian's PostgreSQL, with superuser `postgres` and database `telemetry`.

    With a password, clients authenticate by SCRAM; without one, the server trusts them. With TLS, the server rejects
    connections without TLS. If clients have to present a certificate (`Tls.own`), its name must be the user's.
    `settings` are lines of postgresql.conf. `fsync=False` is faster, but unsuitable for tests of durability.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # PostgreSQL's "fast shutdown"

    def __init__(
        self,
        *,
        port: int | None = None,
        password: str | None = None,
        database: str = "telemetry",
        tls: Tls | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port=port)
        self.password = password
        self.database = database
        self.tls = tls
        self._settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %d ",
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            **self._own_settings(),
            **self._tls_settings(),
            **(settings or {}),
        }

    def offer(self, certificate: Certificate) -> None:
        """Present another certificate from the next start on."""
        data = self._data_from_outside()
        owner = (data.stat().st_uid, data.stat().st_gid)
        certificate.copy_to(data / "server.pem", data / "server.key", owner=owner)

    def start(self) -> Self:
        super().start()
        exists = "SELECT 1 FROM pg_database WHERE datname = %s"
        if not self.query(exists, self.database, database="postgres"):
            self.create_database(self.database)
        return self

    def create_database(self, name: str) -> str:
        """Create a database and return its URL."""
        self.execute(f'CREATE DATABASE "{name}"', database="postgres")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, even if clients are connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', database="postgres")

    def dump(self, name: str) -> Path:
        """Return a backup of a database, made by pg_dump."""
        file = self._data() / f"{name}.{time.monotonic_ns()}.dump"  # the server's user may write here
        self._run("pg_dump", f"--dbname={self.url(name)}", "--format=custom", f"--file={file}")
        return file

    def restore(self, name: str, backup: Path) -> None:
        """Restore a database from a backup, by pg_restore."""
        self.drop_database(name)
        self.create_database(name)
        self._before_restoring(name)
        self._run("pg_restore", f"--dbname={self.url(name)}", backup)
        self._after_restoring(name)

    def _run(self, program: str, *arguments: str | Path) -> None:
        run_tool([*self._as_user(), self._programs() / program, *arguments])

    def _before_restoring(self, name: str) -> None:
        """Prepare an extension for the restore."""

    def _after_restoring(self, name: str) -> None:
        """Finish the restore of an extension."""

    def _own_settings(self) -> dict[str, str]:
        return {}

    def _tls_settings(self) -> dict[str, str]:
        if not self.tls:
            return {}
        files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
        return {"ssl": "on", **files, **({"ssl_ca_file": "ca.pem"} if self.tls.own else {})}

    def _secure(self, data: Path) -> None:
        """Copy the certificates to where the server reads them, and reject connections without TLS."""
        if not self.tls:
            return
        self.offer(self.tls.certificate)
        owner = (data.stat().st_uid, data.stat().st_gid)
        copy(self.tls.authority.ca, data / "ca.pem", owner=owner)
        method = "scram-sha-256" if self.password else "trust"
        proof = " clientcert=verify-full" if self.tls.own else ""
        (data / "pg_hba.conf").write_text(f"hostssl all all {HOST}/32 {method}{proof}\n")

    def _data(self) -> Path:
        """Return the data directory as the server sees it."""
        return self.directory / "data"

    def _data_from_outside(self) -> Path:
        return self._data()

    def _programs(self) -> Path:
        """Return the folder with initdb and postgres, as the server sees it."""
        versions = sorted(
            (path for path in Path(_server_folder).glob("*/bin") if (path / "initdb").exists()),
            key=lambda path: float(path.parent.name),
        )
        if not versions:
            raise ServiceError("postgresql is not installed: run scripts/install-deps.sh test")
        return versions[-1]

    def _as_user(self) -> list[str]:
        """Return the command prefix that changes the user, because PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]

    def _make_data_directory(self) -> None:
        data = self._data_from_outside()
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(data, "postgres", "postgres")

    def _prepare(self) -> None:
        self._make_data_directory()
        data = self._data_from_outside()
        run_tool(
            [
                *self._as_user(),
                self._programs() / "initdb",
                f"--pgdata={self._data()}",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                *self._authentication(data),
            ]
        )
        with (data / "postgresql.conf").open("a") as configuration:
            for key, value in self._settings.items():
                quoted = value.replace("'", "''")
                configuration.write(f"{key} = '{quoted}'\n")
        self._secure(data)

    def _authentication(self, data: Path) -> list[str]:
        if not self.password:
            return ["--auth=trust"]
        file = data.with_name("password")
        file.touch(mode=0o600)
        file.write_text(self.password)
        os.chown(file, data.stat().st_uid, data.stat().st_gid)
        return ["--auth=scram-sha-256", f"--pwfile={self._data().with_name(file.name)}"]

    def _command(self) -> Sequence[str | Path]:
        return [*self._as_user(), self._programs() / "postgres", "-D", self._data()]

    def _responds(self) -> bool:
        # The server logs a line for each connection that arrives too early, which would flood the log.
        if self._state() != "ready":
            return False
        return self._replies("SELECT 1", "postgres")

    def _clean_up(self) -> None:
        """Remove the System V segment, which a killed server leaves until another starts on the same data."""
        words = self._pid_file()[6].split()
        if len(words) == 2:
            subprocess.run(["ipcrm", "-m", words[1]], capture_output=True, check=False)

    def _state(self) -> str:
        return self._pid_file()[7].strip()

    def _pid_file(self) -> list[str]:
        """Return the lines of postmaster.pid: line 6 has the shared memory, line 7 the state."""
        try:
            lines = (self._data_from_outside() / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ServiceError):
            lines = []
        return [*lines, *[""] * 8]


class Timescale(Postgres):
    """TimescaleDB on PostgreSQL 17, from the next Debian release, in a separate directory tree.

    The tree is built once (a minute) and shared; each server keeps its data in the tree while it exists. Each database
    that this class creates has the extension.
    """

    name = "timescale"
    _in_root: Path | None = None

    def create_database(self, name: str) -> str:
        url = super().create_database(name)
        self.execute("CREATE EXTENSION timescaledb", database=name)
        return url

    def _before_restoring(self, name: str) -> None:
        self.execute("SELECT timescaledb_pre_restore()", database=name)

    def _after_restoring(self, name: str) -> None:
        self.execute("SELECT timescaledb_post_restore()", database=name)

    def _own_settings(self) -> dict[str, str]:
        return {
            "shared_preload_libraries": "timescaledb",
            "timescaledb.telemetry_level": "off",
            # The tree has no /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            "timescaledb.max_background_workers": "16",
            "max_worker_processes": "32",
        }

    def _prepare(self) -> None:
        parent = debian.timescale_root() / _in_chroot
        parent.mkdir(parents=True, exist_ok=True)
        self._in_root = instances.create(parent, self.name)
        super()._prepare()

    def _data(self) -> Path:
        return Path("/", _in_chroot, self._instance().name, "data")

    def _data_from_outside(self) -> Path:
        return self._instance() / "data"

    def _instance(self) -> Path:
        """Return the server's folder in the tree, which is separate from the service's `directory`."""
        if self._in_root is None:
            raise ServiceError(f"{self.name} was not started")
        return self._in_root

    def _programs(self) -> Path:
        return Path(_server_folder, debian.POSTGRES_VERSION, "bin")

    def _as_user(self) -> list[str]:
        return ["chroot", "--userspec=postgres:postgres", str(debian.timescale_root())]

    def _make_data_directory(self) -> None:
        data = self._data_from_outside()
        data.mkdir(mode=0o700)
        os.chown(data, *debian.user_in(debian.timescale_root(), "postgres"))

    def _clean_up(self) -> None:
        super()._clean_up()
        if self._in_root is not None:
            instances.remove(self._in_root)
            self._in_root = None
