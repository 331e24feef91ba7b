"""The versions of the runtime specification that a config.json may name (config.md, "Specification version")."""

from __future__ import annotations

# What pyrun implements, and writes as ociVersion into state and features.
SPEC_VERSION = "1.3.0"

# MUST 137: every version from here to SPEC_VERSION is accepted in a config.json.
OCI_VERSION_MIN = "1.0.0"
