"""The job `cisray demo`: the whole loop on a made-up genome, from bases to a page of results.

Knows in which order a newcomer meets the commands. Every step is the real one, and before it stands
the command that does the same.
"""
