"""Enformer computed fast and exactly: shared trunk, changed tokens, differences.

Knows the arithmetic of a model's layers; knows nothing of rows, files or Ray. Every fast path has
a plain twin in `cisray.inference` behind the same interface, and a test that holds them together.
"""
