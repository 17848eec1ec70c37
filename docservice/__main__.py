"""The entry point: ``docservice`` and ``python -m docservice``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line, or name what is missing; a health check loads nothing of the service."""
    if sys.argv[1:2] == ["healthcheck"]:
        from docservice.health import healthcheck, parse_words  # noqa: PLC0415 - the point of it

        given = parse_words(sys.argv[2:])
        code, line = healthcheck(given.port, os.environ, ready=given.ready)
        print(line if code == 0 else f"docservice: {line}", file=sys.stdout if code == 0 else sys.stderr)
        raise SystemExit(code)
    try:
        from docservice.cli.main import main as commands  # noqa: PLC0415 - not for a health check

        commands(prog_name="docservice")
    except ModuleNotFoundError as fault:
        install = "pip install 'celery-pool-autoscaler[api]'"
        sys.stderr.write(f"docservice: the extra api is not installed; run: {install} (no {fault.name})\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
