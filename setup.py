"""What pyproject.toml can't say: which packages there are, and that the executor is built."""

import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


class Build(build_py):
    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)  # else modules that are gone stay in it
        subprocess.run(["make", "runtime/machine/executor"], check=True)
        super().run()


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        """Any Python, but only this machine: the executor is native, and needs no libc."""
        return "py3", "none", super().get_tag()[2]


class Native(Distribution):
    def has_ext_modules(self) -> bool:
        return True


packages = [
    ".".join(("pyrun", *folder.parts)).replace("pyrun.runtime", "pyrun")
    for top in ("hooks", "runtime", "spec")
    for folder in (Path(top), *Path(top).rglob("*"))
    if folder.is_dir() and any(folder.glob("*.py"))
]
setup(
    packages=packages,
    cmdclass={"build_py": Build, "bdist_wheel": Wheel},
    distclass=Native,
    options={"build": {"build_base": "build/setuptools"}},
)
