"""Questions to finished runs that take more than a scan: joins, rankings, sums, several runs.

Knows Polars and what a run is; knows nothing of how files lie, which `cisray.store.scan` does: it
offers these queries as methods of a run, and reads every row for them. `parts` cuts a run into
pieces that fit into memory, `frames` checks what is handed over.
"""
