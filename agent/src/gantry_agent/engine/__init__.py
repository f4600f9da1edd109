"""Gantry's own engine: images as stacks of layers, containers as a thin layer on top, behind the Docker Engine API.

Imports run one way: errors ← oci ← store, layers ← registry, images ← networks, volumes, runtime ← containers ←
core ← api ← main.
"""
