"""What `./gantry` does before Gantry's own environment exists: standard library only.

commands     the command line: up, test, check, bench, manage
engine       the engine of this machine: which answers, which is asked for
packages     system packages: which are missing, and installing them
environment  uv and the virtual environment made from uv.lock
"""
