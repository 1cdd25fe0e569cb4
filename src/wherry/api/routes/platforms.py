"""The `platform` parameter of create: an image of another platform is refused where one was asked for, and warned of where none was."""

from __future__ import annotations

from wherry.daemon.info import go_arch
from wherry.image.store import ImageStore
from wherry.model.errors import InvalidArgument, NotFound


def check_platform(images: ImageStore, reference: str, asked: str) -> list[str]:
    """Warnings. NotFound where the image is of another platform than `asked` (`os[/arch[/variant]]`), or is not there."""
    image = images.get(reference)
    system, arch = image.config.get("os") or "linux", image.config.get("architecture") or go_arch()
    has = [system, arch, *filter(None, [image.config.get("variant")])]
    if not asked:
        if (system, arch) == ("linux", go_arch()):
            return []
        return [f"The requested image's platform ({'/'.join(has)}) does not match the detected host platform (linux/{go_arch()}) "
                "and no specific platform was requested"]
    wanted = asked.lower().split("/")
    if len(wanted) > 3 or not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in wanted):
        raise InvalidArgument(f"not a platform: {asked!r} (os[/arch[/variant]])")
    if wanted[0] == arch and len(wanted) == 1:
        wanted = ["linux", arch]
    if any(want != got for want, got in zip(wanted, has, strict=False)):
        raise NotFound(f"image with reference {reference} was found but its platform ({'/'.join(has)}) is not the one asked for ({asked})")
    return []
