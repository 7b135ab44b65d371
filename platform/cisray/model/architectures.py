"""The architectures that cisray knows, by the names that model files give them.

Knows configurations; builds no network (`registry` does) and reads no file.
"""

from collections.abc import Mapping

from cisray.model.basenji2.config import Basenji2Config
from cisray.model.configuration import ModelConfig
from cisray.model.enformer.config import EnformerConfig

CONFIGURATIONS: Mapping[str, type[ModelConfig]] = {
    "enformer": EnformerConfig,
    "basenji2": Basenji2Config,
}


def architecture_of(config: ModelConfig) -> str:
    """Name the architecture that a configuration belongs to.

    >>> architecture_of(Basenji2Config())
    'basenji2'
    """
    return next(name for name, kind in CONFIGURATIONS.items() if type(config) is kind)
