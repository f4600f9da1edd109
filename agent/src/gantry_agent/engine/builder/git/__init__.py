"""Sources of a build that are git repositories, fetched by git itself in a sandbox."""

from .addresses import GitSource, is_git, parse
from .checkout import Checkout, check_out

__all__ = ["Checkout", "GitSource", "check_out", "is_git", "parse"]
