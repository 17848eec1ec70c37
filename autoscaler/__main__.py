"""The entry point: ``autoscaler`` and ``python -m autoscaler``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; a health check without loading what the daemon needs."""
    if sys.argv[1:2] == ["healthcheck"]:
        from autoscaler.report.health import healthcheck, parse_words  # noqa: PLC0415 - the point of it

        given = parse_words(sys.argv[2:])
        code, line = healthcheck(given.listen, os.environ, ready=given.ready)
        print(line if code == 0 else f"autoscaler: {line}", file=sys.stdout if code == 0 else sys.stderr)
        raise SystemExit(code)
    from autoscaler.cli.main import main as commands  # noqa: PLC0415 - not for a health check

    commands(prog_name="autoscaler")


if __name__ == "__main__":
    main()
