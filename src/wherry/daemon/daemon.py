"""The Daemon: the stores of one wherryd, and nothing else. The verbs are functions in files of their own."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from wherry import cgroups
from wherry.daemon.containers import Containers
from wherry.daemon.endpoints import network_id
from wherry.daemon.events import EventBus
from wherry.daemon.identity import engine_id
from wherry.daemon.options import Options
from wherry.execdriver.client import Hub, Launcher
from wherry.execdriver.seccomp import ProfileCache
from wherry.graphdriver import open_driver
from wherry.image.store import ImageStore
from wherry.model.container import Container
from wherry.model.steps import Span
from wherry.network.bridge import Bridge, BridgeOptions
from wherry.network.proxy import listen
from wherry.network.proxyclient import ProxyClient
from wherry.store.db import Database
from wherry.store.journal import Journal
from wherry.volume.store import Volume, VolumeStore

log = logging.getLogger("wherryd")

TRACES = 256  # how many starts are remembered for `run --trace`


WORKERS = 8


def _all_workers() -> ThreadPoolExecutor:
    """The pool with all of its threads made: an end of a container must not need a new thread when the pids limit is reached."""
    pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="worker")
    together = threading.Barrier(WORKERS + 1)
    for _ in range(WORKERS):
        pool.submit(together.wait)
    together.wait()
    return pool


class Daemon:
    """Opens every store; `close` lets them go. Containers run on."""

    def __init__(self, options: Options) -> None:
        self.options = options
        root, exec_root = options.data_root, options.exec_root
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        exec_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.db = Database(root / "wherry.db")
        self.journal = Journal(self.db)
        self.events = EventBus()
        self.driver = open_driver(options.storage_driver or None, root)
        self.images = ImageStore(root, self.driver)
        self.containers = Containers(root / "containers", self.db)
        self.volumes = VolumeStore(root / "volumes", self.db, self._volume_event, log.warning)
        self.cgroups = cgroups.detect()
        self.device_control = not self.cgroups.warnings(cgroups.Resources(devices=cgroups.DEFAULT_DEVICE_RULES))[1]
        self.seccomp = ProfileCache(root / "seccomp")
        self.execs: dict[str, Any] = {}
        self.traces: OrderedDict[str, list[Span]] = OrderedDict()
        self.traces_lock = threading.Lock()
        self.closing = False
        # Ends of containers, and removals after them: work that no request waits for.
        self.workers = _all_workers()
        self.hub = Hub()
        self.launcher = Launcher(exec_root, self.hub, log.warning)
        self.proxy = ProxyClient(str(exec_root / "proxy.sock"), self._start_proxy)
        self.bridge = Bridge(self.db, BridgeOptions(name=options.bridge, bip=options.bip, ip_forward=options.ip_forward,
                                                    iptables=options.iptables, icc=options.icc, mtu=options.mtu), self.proxy)

    @property
    def mounts(self) -> Any:
        """Where merged root file systems are mounted: <graph driver root>/mnt."""
        return self.options.data_root / self.driver.name / "mnt"

    def _start_proxy(self) -> None:
        """Asked for by the client of the proxy where none listens."""
        with listen(str(self.options.exec_root / "proxy.sock")) as control:
            self.launcher.fork_proxy(control, "proxy.facts")

    def event(self, container: Container, action: str, **attributes: str) -> None:
        """Tells the event bus what happened to a container."""
        labels = container.config.labels or {}
        self.events.publish("container", action, container.id,
                            {**labels, "image": container.record.image_ref, "name": container.name, **attributes})

    def network_event(self, container: Container, action: str) -> None:
        """Tells the event bus that a container came to, or left, the default bridge."""
        self.events.publish("network", action, network_id(engine_id(self.options.data_root), "bridge"),
                            {"container": container.id, "name": "bridge", "type": "bridge"})

    def _volume_event(self, action: str, volume: Volume, attributes: Mapping[str, str]) -> None:
        self.events.publish("volume", action, volume.name, {"driver": volume.driver, **attributes})

    def remember(self, container: Container, spans: list[Span]) -> None:
        """Keeps the steps of a start for a while."""
        with self.traces_lock:
            self.traces[container.id] = spans
            self.traces.move_to_end(container.id)
            while len(self.traces) > TRACES:
                self.traces.popitem(last=False)

    def submit(self, work: Callable[..., None], *args: Any) -> None:
        """Does `work` in the background; an error of it is logged with its traceback. While the daemon closes it is left to the next one's
        reconcile(): exit.json and the journal keep it."""
        if self.closing:
            return

        def run() -> None:
            try:
                work(*args)
            except Exception:
                log.exception("background work failed: %s", getattr(work, "__name__", work))

        try:
            self.workers.submit(run)
        except RuntimeError:
            return  # closed since the look above

    def close(self) -> None:
        """Lets go of everything; what runs goes on."""
        self.closing = True
        self.workers.shutdown(wait=True)  # they use all that follows
        self.hub.close()
        self.launcher.close()
        self.bridge.close()
        self.cgroups.close()
        self.db.close()
