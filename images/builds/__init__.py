"""Builds: a Dockerfile and its files become an image on a host."""
