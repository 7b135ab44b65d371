"""Imports Ray once, with what it reads from the environment at import time set first.

Every other module of the engine takes Ray, and the few private parts of it that `cluster` needs,
from here. Knows nothing else. Ray is held to one minor version in pyproject.toml for their sake.
"""

import os

# Under `uv run` Ray would else copy the working directory to every worker and change into the
# copy, where relative paths break. Read when Ray is imported.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

import ray
import ray.exceptions
from ray._private import ray_constants as constants
from ray._private import services
from ray._private import worker as driver
from ray._raylet import (  # type: ignore[attr-defined]  # the stub file leaves both out
    AuthenticationTokenLoader,
    Config,
)
from ray.util import metrics as meters

__all__ = [
    "AuthenticationTokenLoader",
    "Config",
    "constants",
    "died_with_its_node",
    "driver",
    "meters",
    "one_line",
    "ray",
    "services",
]

# Ray says of an actor's death only in words that the machine went with it.
_NODE_DEATH = "the actor died because its node has died"


def died_with_its_node(error: Exception) -> bool:
    """Tell whether an actor was lost because its machine was: preempted, terminated, unplugged."""
    if not isinstance(error, ray.exceptions.RayActorError):
        return False
    return error.preempted or _NODE_DEATH in str(error).lower()


def one_line(error: Exception) -> str:
    """Tell an error of Ray in one line, of the many that some have."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
