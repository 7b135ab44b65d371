"""Which Ray an address means; knows the environment, and does not import Ray."""

import os

EMBEDDED = "local"


def choose_address(asked: str | None) -> str:
    """Give the address to connect to: as asked, else `auto` inside a Ray job, else `local`.

    Ray sets RAY_ADDRESS for the entry point of a job; `local` is an embedded Ray of our own.
    """
    return asked or ("auto" if os.environ.get("RAY_ADDRESS") else EMBEDDED)
