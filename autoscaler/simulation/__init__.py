"""Back-tests: a trace of work, a model of the pool, and what each policy would have made of it.

``traces`` and ``workloads`` give the work, ``engine`` runs it, ``decided`` and ``peers`` decide the size,
``report`` shows the outcome, ``verdict`` names the winner, ``tune`` searches the parameters. All of it is
pure and needs no dependency, but for ``plot``, which imports matplotlib when it draws.
"""
