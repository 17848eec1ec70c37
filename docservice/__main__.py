"""The entry point: ``docservice`` and ``python -m docservice``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or name what is missing where the extra was not installed."""
    try:
        from docservice.cli import main as commands  # noqa: PLC0415 - it may not load

        commands(prog_name="docservice")
    except ModuleNotFoundError as fault:
        sys.stderr.write(f"docservice: {fault.name} is not installed; install celery-pool-autoscaler[api]\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
