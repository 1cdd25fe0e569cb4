"""`python -m wherry.init -driver native -pipe N -root DIR [-fds A,B,...] -- ARGS`: the init alone, to be read, run and debugged.

DIR holds `container.json`; `-pipe` is the inherited end of the sync pipe; `-fds` the inherited descriptors that the Command counts, in
its order. ARGS, when given, take the place of the Command's argv. The caller made the namespaces.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from wherry.init import audit
from wherry.init.container import container_main
from wherry.init.syncpipe import adopt
from wherry.model.command import from_json
from wherry.model.steps import set_process

USAGE = "usage: python -m wherry.init -driver native -pipe N -root DIR [-fds A,B,...] -- ARGS"


def main(argv: list[str]) -> NoReturn:
    """Parses the arguments and becomes the container's init; exit code 125 for a wrong call."""
    own, args = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    options = dict(zip(own[::2], own[1::2], strict=False))
    known, driver = {"-driver", "-pipe", "-root", "-fds"}, options.get("-driver", "native")
    if len(own) % 2 or not {"-pipe", "-root"} <= set(options) <= known or driver != "native":
        sys.stderr.write(USAGE + "\n")
        sys.exit(125)
    with open(os.path.join(options["-root"], "container.json"), "rb") as file:
        command = from_json(file.read())
    if args:
        command = command._replace(process=command.process._replace(argv=args))
    fds = [int(fd) for fd in options.get("-fds", "").split(",") if fd]
    for fd in fds:
        os.set_inheritable(fd, False)
    set_process("init")
    if os.environ.get("WHERRY_AUDIT"):
        audit.install()
    container_main(command, fds, adopt(int(options["-pipe"])))


if __name__ == "__main__":
    main(sys.argv[1:])
