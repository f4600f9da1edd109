"""What runs a container's processes: conmon and an OCI runtime, the kernel's limits, and the OCI configuration.

Thin wrappers without a state of their own; what a container is and may do next is in `containers`.
"""
