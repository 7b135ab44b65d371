"""What people submit: one module per job, and the command line that composes them.

A job is one frozen configuration and a `run()`; the work itself lives in `cisray`.
"""
