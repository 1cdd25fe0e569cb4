"""Watches our firewall tables: a reload of firewalld or `nft flush ruleset` takes them away, and is answered at once (R10)."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable

from wherry.linux.nftables import Changes
from wherry.model.errors import WherryError

log = logging.getLogger(__name__)


class Guard:
    """A thread that calls `check` whenever another process changed one of `tables`. It sleeps in the kernel else. stop() joins it."""

    def __init__(self, tables: set[str], check: Callable[[], bool]) -> None:
        self._changes, self._check = Changes(tables), check
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="firewall guard", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._changes, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        while True:
            if any(fd == self._stopped.fileno() for fd, _ in poll.poll()):
                return
            if not self._changes.read():
                continue
            try:
                if not self._check():
                    log.warning("somebody changed our firewall table; it is restored")
            except (OSError, WherryError) as error:
                log.error("our firewall table was changed and cannot be restored: %s", error)

    def stop(self) -> None:
        """End the thread."""
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._changes.close()
