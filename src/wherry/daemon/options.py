# ruff: noqa
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    data_root: Path = Path("/var/lib/wherry")
    exec_root: Path = Path("/run/wherry")
    hosts: tuple[str, ...] = ()
    storage_driver: str = ""
    bridge: str = "wherry0"
    bip: str = ""
    ip_forward: bool = True
    iptables: bool = True
    icc: bool = True
    mtu: int = 0
    init: bool = False
    init_path: str = "/usr/bin/tini-static"
    default_shm_size: int = 64 << 20
    log_opts: dict[str, str] = field(default_factory=dict)
    default_ulimits: dict[str, Any] = field(default_factory=dict)
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    log_level: str = "info"
    pidfile: Path = Path("/run/wherry/wherryd.pid")
    ready_fd: int | None = None
    live_restore: bool = True
    shutdown_timeout: int = 15
def parse(argv: list[str]) -> Options:
    import argparse
    p = argparse.ArgumentParser()
    p.add_argument("--data-root", type=Path, default=Path("/var/lib/wherry")); p.add_argument("--exec-root", type=Path, default=Path("/run/wherry"))
    p.add_argument("-H", "--host", action="append"); p.add_argument("-b", "--bridge", default="wherry0"); p.add_argument("--ready-fd", type=int)
    p.add_argument("--storage-driver", default=""); p.add_argument("--bip", default=""); p.add_argument("-p", "--pidfile", type=Path)
    a = p.parse_args(argv)
    return Options(data_root=a.data_root, exec_root=a.exec_root, hosts=tuple(a.host or [f"unix://{a.exec_root}/wherry.sock"]), bridge=a.bridge, ready_fd=a.ready_fd, storage_driver=a.storage_driver, bip=a.bip, pidfile=a.pidfile or a.exec_root / "wherryd.pid")
