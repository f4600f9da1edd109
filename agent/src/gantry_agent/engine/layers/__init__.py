"""Layers as files: unpacked safely, stacked by overlayfs, packed again, and what people copy in and out of them.

Whatever reads or writes a tree that somebody else filled runs in a child process whose root is that tree
(`worker.py`): no name and no link in it can mean anything outside.
"""
