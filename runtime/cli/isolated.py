"""The command that pip installs: it starts again as an isolated interpreter, which nothing around it can influence."""

from __future__ import annotations

import os
import site
import sys


def main() -> None:
    """Never returns."""
    program = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/__main__.py"
    packages = f"packages={':'.join(site.getsitepackages())}"
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", packages, program, *sys.argv[1:]])
