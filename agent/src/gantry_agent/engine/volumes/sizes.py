"""What a volume takes on disk."""

import os
import stat
from pathlib import Path


def tree_size(folder: Path) -> int:
    """Bytes of every file below `folder`, each counted once however many names it has. Blocks; follows no link.

    What vanishes while it is counted does not count.
    """
    seen: set[tuple[int, int]] = set()
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
                    elif found.st_nlink == 1:
                        total += found.st_size
                    elif (key := (found.st_dev, found.st_ino)) not in seen:
                        seen.add(key)
                        total += found.st_size
        except OSError:
            continue
    return total
