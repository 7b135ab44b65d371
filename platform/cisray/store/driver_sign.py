"""What anyone who sees a run's folder can tell of its driver, without disturbing it.

Knows what a lock says; how it is looked at is the business of the lock's own module.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverSign:
    """A look at the lock of a run.

    `owner` names the process that holds it, or that died with it; None where nobody does, or the
    last one ended in order. `alive` is known at once of a lock of the kernel. A lease is alive as
    long as its `mark` changes, at least once within `lease_s`: then `alive` is None, as it is where
    the file system tells nothing of locks. `since` is when it was taken (UTC, ISO), if it says so.
    """

    owner: str | None
    alive: bool | None
    since: str | None = None
    mark: str = ""
    lease_s: float | None = None


NOBODY = DriverSign(owner=None, alive=False)
