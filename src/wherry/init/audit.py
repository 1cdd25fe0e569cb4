"""An audit hook for tests (R5): once the init is inside the container, nothing may be imported, loaded or opened by an absolute path.

`install()` is called by the launcher where WHERRY_AUDIT is set; `entered()` by the init, when it stands in the container's root. What is
forbidden ends the process at once with exit code 99 and a line on stderr. sys.addaudithook(), PEP 578.
"""

from __future__ import annotations

import os
import sys
from typing import Any

EXIT_CODE = 99
_FORBIDDEN = frozenset({"import", "ctypes.dlopen", "os.system", "subprocess.Popen", "os.posix_spawn", "socket.getaddrinfo"})

_inside = False
_installed = False


def install() -> None:
    """Adds the hook to this process and to what is forked from it; it does nothing before `entered()`."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def entered() -> None:
    """From here on the rules hold."""
    global _inside
    _inside = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _inside:
        return
    # A relative name is looked up at a descriptor; the root itself is the only absolute name that means the same to everybody.
    by_string = event == "open" and isinstance(args[0], str | bytes) and os.fsencode(args[0])[:1] == b"/" and args[0] not in ("/", b"/")
    if event in _FORBIDDEN or by_string:
        os.write(2, f"wherry audit: {event} {args[:1]!r} inside the container\n".encode())
        os._exit(EXIT_CODE)
