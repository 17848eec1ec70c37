"""``python -m autoscaler`` is the command line."""

from autoscaler.cli import main

main(prog_name="autoscaler")
