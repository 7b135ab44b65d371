"""From examples to weights: losses, metrics, optimisers, steps and their checkpoints.

Knows models and batches; knows neither where examples are stored (`cisray.dataset`) nor Ray.
"""
