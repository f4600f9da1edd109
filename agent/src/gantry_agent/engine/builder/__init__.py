"""Dockerfiles to images: Docker's classic builder, with BuildKit's Dockerfile."""
