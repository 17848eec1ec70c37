"""The entry point: ``autoscaler`` and ``python -m autoscaler``."""

from __future__ import annotations

from autoscaler.cli.main import main as commands


def main() -> None:
    """Run the command line."""
    commands(prog_name="autoscaler")


if __name__ == "__main__":
    main()
