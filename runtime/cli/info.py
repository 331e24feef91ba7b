"""pyrun info: the other name of doctor."""

from pyrun.cli.doctor import run

__all__ = ["run"]
