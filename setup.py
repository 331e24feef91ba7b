"""What pyproject.toml can't say: which packages there are, which release it is, and that the executor is built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).with_name("packaging")))
import release

MACHINE = os.uname().machine
# The executor is static and has no libc, so it runs on them all: the oldest that pip knows on both machines.
SYSTEMS = ("manylinux2014", "manylinux_2_17", "musllinux_1_2")


class Build(build_py):
    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)  # else modules that are gone stay in it
        machine = machine_of(self.get_finalized_command("bdist_wheel").plat_name)
        executor = "runtime/machine/executor" if machine == MACHINE else f"build/executor.{machine}"
        subprocess.run(["make", "runtime/machine/executor", executor], check=True)
        super().run()
        if not self.editable_mode:
            shutil.copy(executor, f"{self.build_lib}/pyrun/machine/executor")
            release.write(f"{self.build_lib}/pyrun/version.py")


class Wheel(bdist_wheel):
    """--plat-name linux_aarch64: of another machine."""

    def get_tag(self) -> tuple[str, str, str]:
        machine = machine_of(self.plat_name)
        return "py3", "none", ".".join(f"{system}_{machine}" for system in sorted(SYSTEMS))


class Source(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        release.write(f"{base_dir}/runtime/version.py")


class Native(Distribution):
    def has_ext_modules(self) -> bool:
        return True


def machine_of(platform: str) -> str:
    return platform.replace("-", "_").removeprefix("linux_")


packages = [
    ".".join(("pyrun", *folder.parts)).replace("pyrun.runtime", "pyrun")
    for top in ("hooks", "runtime", "spec")
    for folder in (Path(top), *Path(top).rglob("*"))
    if folder.is_dir() and any(folder.glob("*.py"))
]
setup(
    version=release.release().pep440(),
    packages=packages,
    cmdclass={"build_py": Build, "bdist_wheel": Wheel, "sdist": Source},
    distclass=Native,
    options={"build": {"build_base": "build/setuptools"}},
)
