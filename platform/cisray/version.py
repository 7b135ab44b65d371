"""The version of cisray: knows one string and nothing else."""

__version__ = "0.1.0"
