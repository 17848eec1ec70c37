"""What others see of a tick: status, metrics, pages, log, health."""
