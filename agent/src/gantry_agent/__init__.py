"""The agent that joins a container host to a Gantry control plane."""

__version__ = "0.1.0"
