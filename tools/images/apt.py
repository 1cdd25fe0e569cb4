"""Debian trees: a base made by mmdebstrap, and packages put on top of a copy of it.

Everything comes from the mirrors that the machine's own apt sources name. Our apt state (lists, archives) lies under the
cache, so that the machine's own apt and its locks are never touched.
"""

import glob
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if "proxy" in key.lower()},
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
}
TRIM = ("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*", "usr/share/lintian/*")
VOLATILE = (
    *("var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*.log", "var/log/apt/*", "var/cache/ldconfig/*", "var/cache/debconf/*-old"),
    *("var/lib/dpkg/*-old", "tmp/*", "run/*", "etc/machine-id", "etc/resolv.conf", "etc/hostname"),
)


def run(*argv: str | Path, env: dict[str, str] | None = None, log: Path | None = None) -> None:
    """Runs a command; its output is shown only when it fails."""
    done = subprocess.run([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**ENVIRONMENT, **(env or {})})
    if done.returncode:
        sys.stderr.buffer.write(done.stdout[-8000:])
        sys.exit(f"images: {argv[0]} failed with {done.returncode}: {' '.join(str(arg) for arg in argv)}")


def os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines) if key}


def sources() -> list[str]:
    """One-line entries of this machine's Debian archives (`deb [...] URL SUITE COMPONENTS`), third parties left out."""
    found: list[tuple[str, str, str]] = []
    for name in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        if not os.path.isfile(name):
            continue
        text = Path(name).read_text()
        if name.endswith(".sources"):
            for block in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n", "", text)):
                fields = {key.lower(): value for key, value in re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", block)}
                if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
                    archives = itertools.product(fields["uris"].split(), fields["suites"].split())
                    found += [(uri, suite, fields.get("components", "")) for uri, suite in archives]
        else:
            found += re.findall(r"(?m)^deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s+(.*)$", text)
    codename = os_release()["VERSION_CODENAME"]
    debian = [(uri, suite) for uri, suite, components in found if suite.split("-")[0] == codename and "main" in components.split()]
    if not debian:
        sys.exit(f"images: this machine's apt sources name no Debian archive of {codename}")
    return [f"deb [signed-by={KEYRING}] {uri} {suite} main" for uri, suite in dict.fromkeys(debian)]


class Apt:
    """Our own apt: the machine's mirrors and proxies, our own lists."""

    def __init__(self, cache: Path) -> None:
        self._dir = cache / "apt"
        for part in ("lists/partial", "archives/partial"):
            (self._dir / part).mkdir(parents=True, exist_ok=True)
        (self._dir / "sources.list").write_text("\n".join(sources()) + "\n")
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
        proxies = re.findall(r"(?m)^Acquire::https?::.*$", dump)
        self._config = self._dir / "apt.conf"
        settings = [
            'Dir::Etc::Parts "/dev/null";',
            f'Dir::Etc::SourceList "{self._dir}/sources.list";',
            'Dir::Etc::SourceParts "/dev/null";',
            f'Dir::State::Lists "{self._dir}/lists";',
            'APT::Sandbox::User "root";',
            'APT::Install-Recommends "false";',
            'Acquire::Languages "none";',
            'Acquire::Retries "5";',
            'Dpkg::Use-Pty "false";',
            'Dpkg::Options { "--force-unsafe-io"; "--force-confnew"; };',
        ]
        self._config.write_text("\n".join([*proxies, *settings, ""]))
        self._updated = False

    def base(self, target: Path, packages: tuple[str, ...], epoch: int) -> None:
        """A minimal Debian of this machine's suite with `packages`, at `target`."""
        run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}", "--format=directory", "--quiet",
            *(f"--dpkgopt=path-exclude=/{pattern}" for pattern in TRIM), "--dpkgopt=force-unsafe-io",
            *(f"--aptopt={line}" for line in self._config.read_text().splitlines() if line.startswith("Acquire::")),
            os_release()["VERSION_CODENAME"], target, self._dir / "sources.list", env={"SOURCE_DATE_EPOCH": str(epoch)})
        tidy(target)

    def install(self, root: Path, packages: tuple[str, ...]) -> None:
        """Installs `packages` into the tree `root`; no service is started, no mount is left."""
        config = {"APT_CONFIG": str(self._config)}
        if not self._updated:
            run("apt-get", "-qq", "update", env=config)
            self._updated = True
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
        script = (
            'exec apt-get -qq -y -o Dir::State="$0/var/lib/apt" -o Dir::State::Lists="$1" -o Dir::State::status="$0/var/lib/dpkg/status"'
            ' -o Dir::Cache="$0/var/cache/apt" -o DPkg::Chroot-Directory="$0" install "${@:2}"'
        )
        inside(root, script, str(self._dir / "lists"), *packages, env=config)
        policy.unlink()
        tidy(root)


def inside(root: Path, script: str, *args: str, env: dict[str, str] | None = None) -> None:
    """Runs a bash script (`$0` is `root`) in mount and PID namespaces of its own, with /proc and the basic devices in the tree."""
    mounts = (
        'mount -t proc proc "$0/proc"; mount -t tmpfs dev "$0/dev"; mkdir "$0/dev/pts" "$0/dev/shm"; ln -s /proc/self/fd "$0/dev/fd"; '
        'for n in null zero full random urandom tty; do touch "$0/dev/$n"; mount --bind "/dev/$n" "$0/dev/$n"; done; '
    )
    run("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-ec", mounts + script, root, *args, env=env)


def tidy(root: Path) -> None:
    """Removes what differs from build to build or is of no use in an image."""
    for pattern in (*VOLATILE, *TRIM):
        for name in glob.glob(str(root / pattern)):
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name)
            else:
                os.unlink(name)
