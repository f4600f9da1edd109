"""What crun and runc say when a process cannot be started, in the words that clients of Docker know."""

import re

NOT_FOUND, NOT_EXECUTABLE, REFUSED = 127, 126, 128
"""Exit codes of a command that is not there, of one that may not be run, and of a runtime that says no."""
WRONG_KIND = (
    "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is"
    " the expected type"
)


def reworded(program: str, said: str, runtime: str = "") -> tuple[str, int]:
    """The words and the exit code. `program`: the command's first word; `runtime` is named when it says anything else.

    crun: "executable file `x` not found in $PATH: No such file or directory", "open executable: Permission denied",
    "chdir `/x`: Not a directory", "mount `/src` to `x`: Not a directory"; runc: 'exec: "x": executable file not found
    in $PATH' and so on.
    """
    lower = said.lower()
    if not program:  # which crun takes for the root folder
        return 'exec: "": executable file not found in $PATH', NOT_FOUND
    if "not found in $path" in lower or re.search(r"(executable|exec|stat) .*no such file or directory", lower):
        return f'exec: "{program}": executable file not found in $PATH', NOT_FOUND
    if folder := re.search(r"chdir\S* [`\"(]*([^`\")]+).*not a directory", said, re.IGNORECASE):
        return f"Cannot mkdir: {folder[1]} is not a directory", NOT_FOUND
    if re.search(r"permission denied|is a directory|open executable: operation not permitted", lower):
        return f'exec: "{program}": permission denied', NOT_EXECUTABLE
    told = f"{runtime}: {said}" if runtime else said
    if re.search(r"mount.*not a directory", lower):
        return f"{told}: {WRONG_KIND}", NOT_FOUND
    return told, REFUSED
