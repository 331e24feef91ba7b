"""A bill of materials of what `make install` puts in place, in CycloneDX's form (cyclonedx.org, ECMA-424).

usage: python sbom.py OUT [ENGINE]

cyclonedx-py reads the libraries, with versions and licenses, from build/dependencies. What it can't know is added: our
version and commit, the executor, and, with ENGINE, what of Python is linked into the start-up image.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import pyexpat
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

sys.path.insert(0, str(Path(__file__).parent))
import release

CHECKOUT = Path(__file__).parents[1]
# The version of the form that the tool writes, and its name for it.
FORM, SCHEMA = "1.6", SchemaVersion.V1_6
# Name, version, license: Python and its libraries, of which packaging/image/build.py makes the engine.
LINKED = (
    ("cpython", platform.python_version(), "PSF-2.0"),
    ("expat", pyexpat.EXPAT_VERSION.removeprefix("expat_"), "MIT"),
    ("zlib", zlib.ZLIB_RUNTIME_VERSION, "Zlib"),
)


def main(out: str, engine: str = "") -> None:
    bill = of_libraries()
    found = release.release()
    root = bill["metadata"]["component"]
    root |= {"version": found.semver(), "purl": f"pkg:generic/{root['name']}@{quote(found.pep440())}"}
    if found.commit:
        root["properties"] = [{"name": "commit", "value": found.commit + ("-dirty" if found.changed else "")}]
    add(bill, executor(found))
    for name, version, license_ in LINKED if engine else ():
        add(bill, component(name, version, license_, "linked into the start-up image"))
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if wrong := JsonStrictValidator(SCHEMA).validate_str(text):
        raise SystemExit(f"{out}: {wrong}")
    Path(out).write_text(text)


def of_libraries() -> dict[str, Any]:
    """What cyclonedx-py says of them. It asks an interpreter where it looks for modules: this one does nowhere else."""
    with tempfile.TemporaryDirectory() as folder:
        interpreter = Path(folder, "python")
        interpreter.write_text(
            f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}/build/dependencies" exec "{sys.executable}" -S "$@"\n'
        )
        interpreter.chmod(0o755)
        tool = [f"{sys.prefix}/bin/cyclonedx-py", "environment", "-S", "--output-reproducible", "--spec-version", FORM]
        command = [*tool, "--pyproject", f"{CHECKOUT}/pyproject.toml", str(interpreter)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(release.when())}
        said = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout
    bill: dict[str, Any] = json.loads(said)
    return bill


def executor(found: release.Release) -> dict[str, Any]:
    content = (CHECKOUT / "runtime/machine/executor").read_bytes()
    about = "runs programs of system calls and becomes the container: static, without a libc"
    made = component("executor", found.semver(), "Apache-2.0", about)
    made["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    return made


def component(name: str, version: str, license_: str, about: str) -> dict[str, Any]:
    license_of = [{"license": {"id": license_}}]
    row = {"type": "library", "name": name, "version": version, "bom-ref": f"{name}=={version}"}
    return {**row, "licenses": license_of, "description": about}


def add(bill: dict[str, Any], new: dict[str, Any]) -> None:
    """As a dependency of ours."""
    bill["components"].append(new)
    bill["dependencies"].append({"ref": new["bom-ref"]})
    root = bill["metadata"]["component"]["bom-ref"]
    ours = next(row for row in bill["dependencies"] if row["ref"] == root)
    ours["dependsOn"] = sorted([*ours.get("dependsOn", []), new["bom-ref"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
