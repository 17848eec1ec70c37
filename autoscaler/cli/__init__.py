"""The commands, one module for each, and :mod:`autoscaler.cli.compose`, the only composer."""
