"""`wherry container prune` and `wherry image prune`."""

from wherry.cli import listing
from wherry.cli.command import Command
from wherry.cli.confirm import FORCE, PRUNE_FILTER, agreed, tell
from wherry.cli.context import Cli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND_CONTAINER = Command("", "Remove all stopped containers", (PRUNE_FILTER, FORCE), most=0)
COMMAND_IMAGE = Command(
    "",
    "Remove images that nothing uses",
    (("all", "a", "bool", "", "Also images that have a name, if no container uses them"), PRUNE_FILTER, FORCE),
    most=0,
)


def main_container(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    chosen = listing.filters(flags.items("filter"), "--filter")
    if not flags.on("force") and not agreed("This will remove all stopped containers."):
        return 0
    report = cli.client.call("POST", "/containers/prune", {"filters": chosen})
    tell(cli, "Containers", report["ContainersDeleted"] or [], report["SpaceReclaimed"])
    return 0


def main_image(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    everything = flags.on("all")
    chosen = listing.filters([*flags.items("filter"), f"dangling={'false' if everything else 'true'}"], "--filter")
    which = "all images without at least one container associated to them" if everything else "all dangling images"
    if not flags.on("force") and not agreed(f"This will remove {which}."):
        return 0
    report = cli.client.call("POST", "/images/prune", {"filters": chosen})
    gone = [f"untagged: {one['Untagged']}" if one.get("Untagged") else f"deleted: {one['Deleted']}" for one in report["ImagesDeleted"] or ()]
    tell(cli, "Images", gone, report["SpaceReclaimed"])
    return 0
