"""Drives a runtime's command line as a black box: a container is made from a bundle, and says what it sees.

The runtime is build/pyrun, or any other: `pytest tests/integration --runtime=/usr/sbin/runc`. The fixtures and the leak
check are those of conformance/; what any runtime must do is tested there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness import PYRUN, Container

pytest_plugins = ["conformance.plugin"]
ROOT = os.geteuid() == 0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="leave out nothing that old peers do otherwise")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pyrun_only(reason): about what only pyrun does; skipped on other runtimes")
    config.addinivalue_line("markers", "differs(runc=reason, crun=reason): where an old peer does otherwise")
    if config.getoption("runtime") is None:
        config.option.runtime = str(PYRUN)
    Container.everything = config.getoption("peers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    name = Path(config.getoption("runtime")).name
    for item in items:
        if not ROOT and {"integration", "security"} & set(item.path.parts):
            item.add_marker(pytest.mark.skip("needs root"))
        if (only := item.get_closest_marker("pyrun_only")) and name != "pyrun":
            item.add_marker(pytest.mark.skip(only.args[0]))
        if (differs := item.get_closest_marker("differs")) and name in differs.kwargs:
            item.add_marker(pytest.mark.xfail(reason=differs.kwargs[name]))


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `pyrun spec` writes."""
    folder = tmp_path_factory.mktemp("spec")
    subprocess.run([PYRUN, "spec", "--bundle", folder], check=True)
    return (folder / "config.json").read_text()


@pytest.fixture(scope="session")
def container_type() -> type[Container]:
    return Container
