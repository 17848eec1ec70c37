"""``python -m docservice`` is the command line."""

from docservice.cli import main

main(prog_name="docservice")
