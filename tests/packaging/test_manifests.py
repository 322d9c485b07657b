# SPDX-License-Identifier: Apache-2.0
"""Check that docker/compose.yaml and docker/kubernetes are consistent with each other and with the program.

The tests cannot run them; `make lint` checks them against their schemas.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from plain_debian import BUILD, SOURCE

COMPOSE = yaml.safe_load((SOURCE / "docker/compose.yaml").read_text())
KUBERNETES = SOURCE / "docker/kubernetes"
LONGEST_STOP = 30 + 10  # shutdown_timeout, and the time that plugins may take after it


def validate(config: Path, *arguments: str, cwd: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [str(BUILD / "bin/pipeline-host"), "validate", *arguments, str(config)], cwd=cwd, env=os.environ | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


# Compose


OURS = [name for name, service in COMPOSE["services"].items() if service["image"].startswith("pipeline-host:")]


def test_compose_has_the_bridge_and_the_host() -> None:
    assert sorted(OURS) == ["bridge", "host"]


def test_every_server_has_a_health_check_and_dependents_wait_for_it() -> None:
    for name, service in COMPOSE["services"].items():
        once = service.get("restart") == "no"
        assert once or name in OURS or "healthcheck" in service, name  # the image of our services has one
        for other, how in service.get("depends_on", {}).items():
            one_shot = COMPOSE["services"][other].get("restart") == "no"
            assert how["condition"] == ("service_completed_successfully" if one_shot else "service_healthy"), name


def test_no_password_is_in_a_variable() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith("_FILE"), name
            assert not re.search(r"://[^/]*:[^/]*@", str(value)), name


def test_topics_of_the_pipelines_are_created() -> None:
    made = re.findall(r"rpk topic create (\S+)", " ".join(COMPOSE["services"]["topic"]["command"]))
    named = {"pipeline-host-positions"}  # kafka_sink uses it for exactly-once delivery
    for config in ("iot", "bridge"):
        text = (SOURCE / f"configs/{config}.yaml").read_text()
        named |= set(re.findall(r"^\s+topic: ([\w-]+)$", text, re.MULTILINE))
    assert sorted(made) == sorted(named)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_confined_and_their_commands_are_valid(name: str, tmp_path: Path) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert int(service["stop_grace_period"].removesuffix("s")) > LONGEST_STOP
    (volume,) = service["volumes"]
    assert volume.endswith(":/var/lib/pipeline-host")

    verb, *arguments, config = (word.replace("$$", "$") for word in service["command"])
    assert verb == "run"
    secrets = str((SOURCE / "docker/secrets").resolve())
    arguments = [word.replace("/run/secrets", secrets) for word in arguments]
    config = config.replace("/etc/pipeline-host", str(SOURCE / "configs"))
    validate(Path(config), *arguments, cwd=tmp_path, environment=service["environment"])


# Kubernetes


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def objects(kind: str) -> list[dict[str, Any]]:
    files = [file for file in KUBERNETES.rglob("*.yaml") if file.parent.name != "config"]
    return [document for file in files for document in documents(file) if document["kind"] == kind]


@pytest.mark.parametrize("folder", [".", "autoscaling", "monitoring", "intake"])
def test_a_kustomization_lists_all_files_of_its_folder(folder: str) -> None:
    where = KUBERNETES / folder
    (kustomization,) = documents(where / "kustomization.yaml")
    there = {file.name for file in where.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == there
    for generator in kustomization.get("configMapGenerator", []):
        assert all((where / file).is_file() for file in generator.get("files", []))


def test_the_two_workloads_differ_only_where_necessary() -> None:
    """The two files have the same text, so that each can be read alone."""
    host, bridge = ((KUBERNETES / f"{name}.yaml").read_text() for name in ("host", "bridge"))
    host = host.replace("pipeline-host", "NAME").replace("iot.yaml", "CONFIG")
    bridge = bridge.replace("pipeline-bridge", "NAME").replace("pipeline-host", "NAME").replace("bridge.yaml", "CONFIG")

    def settings(text: str) -> list[str]:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        return [re.sub(r"(replicas:|storage:|cpu:) \w+", r"\1", line) for line in lines]

    assert settings(host) == settings(bridge)


@pytest.mark.parametrize("workload", objects("StatefulSet"), ids=lambda workload: workload["metadata"]["name"])
def test_a_pod_stops_in_time_and_has_valid_probes(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > LONGEST_STOP
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    (file,) = KUBERNETES.rglob(f"config/{Path(container['args'][-1]).name}")
    (config,) = documents(file)
    # A sink that is down must not take a source with a spool out of service.
    takes_requests = any(source["plugin"] == "http_source" for source in config["sources"].values())
    probe = "/health/accepting" if takes_requests else "/health/ready"
    assert container["readinessProbe"]["httpGet"]["path"] == probe
    port = next(port for port in container["ports"] if port["name"] == "http")
    assert config["http"]["listen"] == f"0.0.0.0:{port['containerPort']}"
    (policy,) = (policy for policy in objects("NetworkPolicy") if policy["metadata"]["name"] == "pipeline-host")
    assert policy["spec"]["ingress"][0]["ports"][0]["port"] == port["containerPort"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    name = workload["metadata"]["name"]
    assert workload["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
    assert name in [budget["metadata"]["name"] for budget in objects("PodDisruptionBudget")]
    assert name in [service["metadata"]["name"] for service in objects("Service")]


def test_the_intake_is_reachable_where_it_listens(tmp_path: Path) -> None:
    (config,) = documents(KUBERNETES / "intake/config/intake.yaml")
    (workload,) = (it for it in objects("StatefulSet") if it["metadata"]["name"] == "pipeline-intake")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    (port,) = (port["containerPort"] for port in container["ports"] if port["name"] == "records")
    assert config["sources"]["posted"]["listen"] == f"0.0.0.0:{port}"
    (policy,) = (it for it in objects("NetworkPolicy") if it["metadata"]["name"] == "pipeline-intake")
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
    (service,) = (it for it in objects("Service") if it["metadata"]["name"] == "pipeline-intake")
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["records"]
    assert workload["spec"]["serviceName"] in [it["metadata"]["name"] for it in objects("Service")]

    (tmp_path / "intake-token").write_text("secret")
    there = (KUBERNETES / "intake/config/intake.yaml").read_text()
    here = tmp_path / "intake.yaml"
    here.write_text(there.replace("/run/secrets/pipeline-host", str(tmp_path)))
    validate(here, cwd=tmp_path, environment={"KAFKA_BROKERS": "kafka:9092"})


def test_scaling_uses_the_group_and_the_topic_of_the_pipeline() -> None:
    (scaled,) = objects("ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    source = documents(KUBERNETES / "config/iot.yaml")[0]["sources"]["telemetry"]
    assert trigger["metadata"]["consumerGroup"] == source["group"]
    assert trigger["metadata"]["topic"] == source["topic"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in [it["metadata"]["name"] for it in objects("StatefulSet")]
    created = " ".join(COMPOSE["services"]["topic"]["command"])
    assert f"iot-stream --partitions {scaled['spec']['maxReplicaCount']} " in created


@pytest.mark.parametrize("name", ["iot", "bridge"])
def test_a_configuration_for_the_cluster_is_valid_and_equals_the_default(name: str, tmp_path: Path) -> None:
    here = KUBERNETES / f"config/{name}.yaml"
    ours, theirs = documents(here)[0], documents(SOURCE / f"configs/{name}.yaml")[0]
    for config in (ours, theirs):
        config.pop("http", None)
        for group in ("sources", "sinks"):
            for node in config[group].values():
                for option in ("url", "brokers", "instance"):
                    node.pop(option, None)
        config["dead_letters"].pop("brokers", None)
    assert ours == theirs

    secrets = {"database-url": "postgresql://iot:secret@db:6432/telemetry", "mqtt-url": "mqtts://broker:8883"}
    for secret, value in secrets.items():
        (tmp_path / secret).write_text(value)
    config = tmp_path / f"{name}.yaml"
    config.write_text(here.read_text().replace("/run/secrets/pipeline-host", str(tmp_path)))
    validate(config, cwd=tmp_path, environment={"KAFKA_BROKERS": "kafka:9092", "POD_NAME": "pipeline-host-0"})
