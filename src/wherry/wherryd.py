"""`wherryd`: the daemon's process. Puts the API over the Daemon, serves until SIGTERM, and leaves containers running."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack

from wherry import __version__
from wherry.api.app import make_server
from wherry.api.listen import open_listeners, remove_paths
from wherry.daemon import options as flags
from wherry.daemon import rlimits, shutdown
from wherry.daemon.daemon import Daemon
from wherry.daemon.options import Options
from wherry.daemon.pidfile import alone
from wherry.daemon.reconcile import reconcile
from wherry.model.errors import WherryError
from wherry.model.steps import set_process

log = logging.getLogger("wherryd")


def main() -> None:
    """Entry point; exits 1 with one line on standard error where the daemon cannot start."""
    try:
        options = flags.parse(sys.argv[1:])
    except WherryError as error:
        print(f"wherryd: {error}", file=sys.stderr)
        sys.exit(1)
    set_process("wherryd")
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        run(options)
    except (WherryError, OSError) as error:
        print(f"wherryd: cannot start: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # threads of a Daemon that is half made would keep the process for ever


def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT."""
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "wherryd needs to be run by root")
    rlimits.raise_own()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: log.warning("SIGHUP: reloading the configuration is not built yet; restart wherryd, containers run on"))
    with ExitStack() as undo:
        undo.enter_context(alone(options.data_root, options.exec_root, options.pidfile))
        daemon = Daemon(options)
        undo.callback(daemon.close)
        reconcile(daemon)
        server = make_server(daemon, open_listeners(list(options.hosts)))
        server.start()
        undo.callback(server.stop)
        undo.callback(remove_paths, list(options.hosts))
        # Requests pass through two or three threads; with Python's 5 ms each hand-over may wait that long for a busy one.
        sys.setswitchinterval(0.0005)
        gc.collect()
        gc.freeze()
        log.info("wherryd %s serves on %s", __version__, ", ".join(options.hosts))
        if options.ready_fd is not None:
            os.write(options.ready_fd, b"1")
            os.close(options.ready_fd)
        stop.wait()
        log.info("stopping")
        if not options.live_restore:
            shutdown.stop_all(daemon, options.shutdown_timeout)


if __name__ == "__main__":
    main()
