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
