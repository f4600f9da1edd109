"""The rules of an environment: which images may run there, and what a container there may be given."""
