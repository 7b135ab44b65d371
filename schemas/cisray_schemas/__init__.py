"""What cisray's tables look like: Arrow schemas, the meaning of each field, and their versions.

Knows nothing of the rest of the project, so that any tool may depend on it alone.
"""
