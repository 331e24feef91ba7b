"""pyrun trace ID: run with --trace -."""

from pyrun.cli.run import run

__all__ = ["run"]
