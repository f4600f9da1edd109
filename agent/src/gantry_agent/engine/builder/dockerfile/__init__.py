"""What a Dockerfile says, as values: no disk, no network.

errors ← words ← globs, variables
"""
