"""Tells the images app which containers use an image; imported from `ContainersConfig.ready`."""

from containers.access import seen_by
from images import usage

usage.register(seen_by)
