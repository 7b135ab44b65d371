"""The engine: numbered shards on a pool of workers that may die, or in this process without Ray.

Knows shards by number and a task that does one; knows nothing of genomes, models or tables. The
modules: `task` (the words), `ledger` (who was tried how often), `attempt` (one try and what it
came to), `inline` and `pool` (the two executors), `executors` (choosing one), `cluster` (the only
`ray.init`), `progress` (what a person sees), `job_server` and `jobs` (jobs of a cluster, and how it
is reached). `task`, `ledger`, `attempt`, `inline`, `progress` and `job_server` do not import Ray.
"""
