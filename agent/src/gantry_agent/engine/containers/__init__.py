"""Containers: what one is, and everything that is done to it."""
