"""The HiveMQ community edition, an MQTT broker on the JVM: a second implementation to test MQTT against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .base import HOST
from .cache import Run, made_once
from .java import copy_jars, java_program
from .mqtt_broker import MqttBroker

VERSION = "2025.5"

_dependencies = (("com.hivemq", "hivemq-community-edition-embedded", VERSION),)
# A JRE has no compiler; Eclipse's compiler is available as a jar.
_compiler = (("org.eclipse.jdt", "ecj", "3.36.0"),)
_launcher = Path(__file__).with_name("HiveMqLauncher.java")
_options = (
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.net.preferIPv4Stack=true",
    *(
        f"--add-opens={package}=ALL-UNNAMED"
        for package in (
            "java.base/java.lang",
            "java.base/java.nio",
            "java.base/sun.nio.ch",
            "jdk.management/com.sun.management.internal",
        )
    ),
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
)


class HiveMq(MqttBroker):
    """A broker with one plain listener, for anonymous clients or for one user.

    Sessions, queued and retained messages survive a restart and a kill.
    """

    name = "hivemq"

    def __init__(
        self,
        *,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__(port=port, user=user, password=password)

    def _prepare(self) -> None:
        for folder in ("conf", "data", "extensions"):
            (self.directory / folder).mkdir()
        (self.directory / "conf" / "config.xml").write_text(
            "<hivemq>"
            f"<listeners><tcp-listener><port>{self.port}</port>"
            f"<bind-address>{HOST}</bind-address></tcp-listener></listeners>"
            # By default the broker drops messages for a slow subscriber beyond 1,000, which would look like a loss in
            # the program under test.
            "<mqtt><queued-messages><max-queue-size>1000000</max-queue-size></queued-messages></mqtt>"
            "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>"
            "</hivemq>\n"
        )
        (self.directory / "login").write_text(f"{self._user or ''}\n{self._password or ''}\n")

    def _command(self) -> Sequence[str | Path]:
        installed = _installation()
        path = f"{installed}/classes:{installed}/jars/*"
        return [java_program(), *_options, "-cp", path, "HiveMqLauncher", self.directory]


def _installation() -> Path:
    """Return the folder with the broker's jars and our launcher. The first call makes it."""
    # Change the name with the recipe; machines with the old folder would keep it otherwise.
    return made_once(f"hivemq-{VERSION}-1", _install)


def _install(target: Path, run: Run) -> None:
    copy_jars(_dependencies, target / "jars", run)
    copy_jars(_compiler, target / "compiler", run)
    compiler = ["-cp", f"{target}/compiler/*", "org.eclipse.jdt.internal.compiler.batch.Main"]
    jars = os.pathsep.join(str(jar) for jar in (target / "jars").glob("*.jar"))
    words = ["-17", "-proc:none", "-nowarn", "-cp", jars, "-d", str(target / "classes")]
    run([java_program(), *compiler, *words, _launcher])
