"""Check, without a container engine, that docker/compose.yaml matches configs/iot.yaml."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

SOURCE = Path(os.environ.get("PIPELINE_SOURCE_DIR", Path(__file__).parents[2]))
COMPOSE = yaml.safe_load((SOURCE / "docker" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_dependencies_exist_and_have_health_checks() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other], name


def test_all_ports_are_on_loopback() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_defaults_of_the_pipeline_are_the_published_ports() -> None:
    published = {
        port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])
    }
    pipeline = (SOURCE / "configs" / "iot.yaml").read_text()
    defaults = re.findall(r"\$\{\w+:-[^}]*?127\.0\.0\.1:(\d+)", pipeline)
    assert len(defaults) == 3
    assert set(defaults) <= published
    assert "iot-stream" in " ".join(SERVICES["topic"]["command"])


def test_named_volumes_are_declared() -> None:
    used = {
        volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])
