"""Builds the test images from Debian packages as Docker archives, under /var/cache/wherry-images (or $WHERRY_IMAGES).

    python tools/images all            build what is missing, print each archive's path
    python tools/images busybox nginx
    python tools/images --path nginx   print the path only; fails when it is not built

An archive is kept under the key of all that made it (recipe, parent, suite, this format), so that a changed recipe is built anew.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from apt import Apt, inside, os_release, run  # noqa: E402
from recipes import RECIPES, Recipe  # noqa: E402
from tarball import changed, write_archive, write_layer  # noqa: E402

CACHE = Path(os.environ.get("WHERRY_IMAGES", "/var/cache/wherry-images"))
FORMAT = 1  # raise when the way of building changes
EPOCH = 1_735_689_600  # 2025-01-01T00:00:00Z: no file of an image is younger
CREATED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))


def key(recipe: Recipe) -> str:
    parent = key(RECIPES[recipe.parent]) if recipe.parent else ""
    facts = repr((FORMAT, EPOCH, recipe, parent, os_release()["VERSION_CODENAME"], os.uname().machine))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def archive(recipe: Recipe) -> Path:
    return CACHE / f"{recipe.name}-{key(recipe)}.tar"


def layers(recipe: Recipe) -> list[tuple[str, Path]]:
    """(diff ID, tar) of each layer, bottom first."""
    below = layers(RECIPES[recipe.parent]) if recipe.parent else []
    stem = CACHE / "layers" / key(recipe)
    return [*below, (stem.with_suffix(".id").read_text(), stem.with_suffix(".tar"))]


@contextlib.contextmanager
def lock() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def tree(recipe: Recipe) -> Path:
    """The recipe's whole root file system, kept beside its layer for those that build on it."""
    return CACHE / "trees" / key(recipe)


def build(recipe: Recipe, apt: Apt) -> None:
    if archive(recipe).exists():
        return
    parent = RECIPES[recipe.parent] if recipe.parent else None
    if parent:
        build(parent, apt)
    began = time.monotonic()
    print(f"images: building {recipe.tag} ...", flush=True)
    for part in ("trees", "layers"):
        (CACHE / part).mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=f"{recipe.name}.", dir=CACHE / "trees"))
    try:
        root.chmod(0o755)
        fill(recipe, parent, root, apt)
        stem = CACHE / "layers" / key(recipe)
        paths, removed = changed(tree(parent) if parent else None, root)
        stem.with_suffix(".id").write_text(write_layer(root, paths, removed, stem.with_suffix(".tar"), EPOCH))
        shutil.rmtree(tree(recipe), ignore_errors=True)
        root.rename(tree(recipe))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    write_archive(archive(recipe), recipe.tag, recipe.config, layers(recipe), CREATED)
    if not any(other.parent == recipe.name for other in RECIPES.values()):
        shutil.rmtree(tree(recipe))
    forget_older(recipe)
    print(f"images: {recipe.tag} built in {time.monotonic() - began:.0f} s", flush=True)


def fill(recipe: Recipe, parent: Recipe | None, root: Path, apt: Apt) -> None:
    if recipe.name == "busybox":
        busybox(root)
    elif parent is None:
        apt.base(root, recipe.packages, EPOCH)
    else:
        run("cp", "-a", f"{tree(parent)}/.", root)
        apt.install(root, recipe.packages)
    for name, target in recipe.links.items():
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    for name, (mode, text) in recipe.files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(mode)
    for command in recipe.commands:
        inside(root, 'exec chroot "$0" sh -ec "$1"', command)


def busybox(root: Path) -> None:
    """Debian's static busybox, one link per applet, and the directories that programs expect."""
    odd = {"proc": 0o555, "sys": 0o555, "root": 0o700, "tmp": 0o1777}
    for name in ("bin", "dev", "etc", "home", "proc", "root", "sbin", "sys", "tmp", "usr/bin", "usr/sbin", "var/spool", "var/www"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(odd.get(name, 0o755))
    listed = subprocess.run(["dpkg", "-L", "busybox-static"], capture_output=True, text=True).stdout.split()
    program = next((path for path in listed if path.endswith("/bin/busybox")), None)
    if program is None:
        sys.exit("images: busybox-static is not installed; run `make setup` or tools/setup images")
    shutil.copyfile(program, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            os.link(root / "bin/busybox", root / "bin" / applet)


def forget_older(recipe: Recipe) -> None:
    for old in CACHE.glob(f"{recipe.name}-*.tar"):
        if old != archive(recipe):
            old.unlink()
    keep = {key(other) for other in RECIPES.values()}
    for part in ("layers", "trees"):
        for old in (CACHE / part).iterdir():
            if old.stem not in keep and "." not in old.stem:
                shutil.rmtree(old) if old.is_dir() else old.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="IMAGE", choices=["all", *RECIPES], help=f"all, or of: {' '.join(RECIPES)}")
    parser.add_argument("--path", action="store_true", help="print the path only, build nothing")
    arguments = parser.parse_args()
    wanted = list(RECIPES) if "all" in arguments.names else arguments.names
    if not arguments.path and any(not archive(RECIPES[name]).exists() for name in wanted):
        if os.geteuid():
            sys.exit("images: building needs root")
        with lock():
            apt = Apt(CACHE)
            for name in wanted:
                build(RECIPES[name], apt)
    for name in wanted:
        if not archive(RECIPES[name]).exists():
            sys.exit(f"images: {name} is not built; run: python tools/images {name}")
        print(archive(RECIPES[name]))


if __name__ == "__main__":
    main()
