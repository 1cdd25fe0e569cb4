"""The same tests against another engine's socket (WHERRY_TEST_HOST=unix://...): it shows that a test asks for what Docker does.

Only the stock client runs there, and tests that control the daemon itself are left out.
"""

import os
import tempfile
from pathlib import Path

from .api import Api
from .engine import Engine


class ExternalEngine(Engine):
    def __init__(self, host: str) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="wherry-external-", dir="/var/tmp"))
        (self.dir / "docker-config").mkdir()
        self.host, self.socket = host, host.removeprefix("unix://")
        self.api = Api(self.socket)
        self._before = {container["Id"] for container in self.api.ok("GET", "/containers/json?all=1")}
        self._volumes = {volume["Name"] for volume in self.api.ok("GET", "/volumes")["Volumes"] or []}

    def remove_all(self) -> None:
        for container in self.api.ok("GET", "/containers/json?all=1"):
            if container["Id"] not in self._before and any(name.startswith("/e2e") for name in container["Names"]):
                self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        for volume in self.api.ok("GET", "/volumes")["Volumes"] or []:
            if volume["Name"].startswith("e2e"):
                self.api("DELETE", f"/volumes/{volume['Name']}?force=1")

    def close(self) -> None:
        self.remove_all()


def external_host() -> str | None:
    return os.environ.get("WHERRY_TEST_HOST")
