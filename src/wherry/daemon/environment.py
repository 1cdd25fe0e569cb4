"""S9: the environment of a container's program. Pure functions."""

from __future__ import annotations

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(configured: list[str], hostname: str, *, tty: bool) -> list[str]:
    """PATH, HOSTNAME and (with a terminal) TERM, overridden by what is configured; an entry without `=` removes its variable.

    HOME is set by the init, which alone may read the container's passwd."""
    found = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if tty:
        found["TERM"] = "xterm"
    for entry in configured:
        key, equals, value = entry.partition("=")
        if equals:
            found[key] = value
        else:
            found.pop(key, None)
    return [f"{key}={value}" for key, value in found.items()]
