"""Recurring runs: a ledger of schedules and fires, and what brings a fire to its end.

`ledger` is the only truth; `tick` moves it on; `backend` says where commands run. Everything here
may be killed at any moment and be called again, by several processes at once.
"""
