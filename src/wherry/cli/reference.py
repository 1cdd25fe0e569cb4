"""Names of images as the user writes them, taken apart for the requests that want name and tag in two pieces."""

from wherry.cli.errors import CliError

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/:")
_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def split(text: str) -> "tuple[str, str]":
    """Repository and tag (empty if none is given) of `[HOST[:PORT]/]PATH[:TAG]`; CliError in docker's words. The daemon looks closer."""
    if "@" in text:
        raise CliError("refusing to create a tag with a digest reference")
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        head, tag = text, ""
        colon = ""
    host, slash, path = head.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost" or host.lower() != host):
        path = head
    if path.lower() != path:
        shown = path if "/" in path else f"library/{path}"
        raise CliError(f"invalid reference format: repository name ({shown}) must be lowercase")
    if not path or not _NAME.issuperset(path) or ":" in path or (colon and (not tag or not _TAG.issuperset(tag) or tag[0] in ".-")):
        raise CliError("invalid reference format")
    return head, tag
