# SPDX-License-Identifier: Apache-2.0
"""Write a software bill of materials (CycloneDX 1.5, JSON) of installed programs and plugins.

usage: generate_sbom.py VERSION OUTPUT FILE...

Lists the shared libraries that the files need directly, and the Debian packages and versions that provide them. The
output depends only on the files and the installed packages, so that packages are reproducible; with SOURCE_DATE_EPOCH
it also states that time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

HEADER_ONLY = {"libboost-dev": "Boost", "rapidjson-dev": "RapidJSON", "libcli11-dev": "CLI11"}


def output_of(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def libraries_of(file: Path) -> set[str]:
    return set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.+?)\]", output_of("readelf", "--dynamic", "--wide", str(file))))


def locations() -> dict[str, Path]:
    """Return the path of each shared library that the loader knows."""
    found: dict[str, Path] = {}
    for name, path in re.findall(r"^\s*(\S+) \(.*\) => (\S+)$", output_of("/sbin/ldconfig", "-p"), re.MULTILINE):
        found.setdefault(name, Path(path))
    return found


def package_of(file: Path) -> tuple[str, str] | None:
    """Return the Debian package that installed a file, and its version."""
    for path in (file, file.resolve(), Path(str(file.resolve()).replace("/usr/lib/", "/lib/", 1))):
        asked = subprocess.run(["dpkg-query", "--search", str(path)], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            package = asked.stdout.split(": ", 1)[0].split(", ")[0]
            return package, output_of("dpkg-query", "--show", "--showformat", "${Version}", package)
    return None


def headers() -> list[tuple[str, str]]:
    """Return the installed packages whose headers are compiled into the programs."""
    found = []
    for package in sorted(HEADER_ONLY):
        asked = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${Version}", package], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0 and asked.stdout:
            found.append((package, asked.stdout))
    return found


def component(package: str, version: str, **more: object) -> dict[str, object]:
    name, _, architecture = package.partition(":")
    purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}" + (f"?arch={architecture}" if architecture else "")
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, **more}


def bill(version: str, files: list[Path]) -> dict[str, object]:
    known = locations()
    packages: dict[tuple[str, str], set[str]] = {}
    ours = {file.name for file in files}
    for library in sorted(set().union(*(libraries_of(file) for file in files)) - ours):
        owner = package_of(known[library]) if library in known else None
        if owner is None:
            raise SystemExit(f"error: no Debian package provides {library}, which the programs need")
        packages.setdefault(owner, set()).add(library)
    components = [
        component(*owner, properties=[{"name": "soname", "value": library} for library in sorted(libraries)])
        for owner, libraries in sorted(packages.items())
    ]
    components += [component(*owner, scope="required", description="compiled in") for owner in headers()]
    components += [
        {
            "type": "file",
            "bom-ref": file.name,
            "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
        }
        for file in sorted(files, key=lambda f: f.name)
    ]
    metadata: dict[str, object] = {
        "component": {
            "type": "application",
            "bom-ref": "pipeline-host",
            "name": "pipeline-host",
            "version": version,
            "licenses": [{"license": {"id": "Apache-2.0"}}],
        }
    }
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        metadata["timestamp"] = datetime.fromtimestamp(int(epoch), timezone.utc).isoformat()
    content = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'pipeline-host ' + version + content)}",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [
            {"ref": "pipeline-host", "dependsOn": sorted(str(c["bom-ref"]) for c in components if c["type"] == "library")}
        ],
    }


def main(argv: list[str]) -> int:
    if len(argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    version, output, *files = argv[1:]
    Path(output).write_text(json.dumps(bill(version, [Path(file) for file in files]), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
