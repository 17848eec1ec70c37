"""How the runs of one task are told apart in the ledger. For the worker too, which may be an older Python."""

#: The number of a task's next attempt is that much higher: a retry is another run, and not a second one.
NEXT_ATTEMPT = 10_000_000
#: Seconds until a task that is to be retried comes back.
RETRY_SECONDS = 0.3
