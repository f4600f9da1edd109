"""The Docker Engine API on a unix socket: thin handlers over the engine's parts."""
