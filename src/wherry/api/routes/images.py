"""Routes of images."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import msgspec

from wherry.api.channel import ClientGone
from wherry.api.errors import message_of
from wherry.api.messages import Answer, Request, Stream, Write, json_answer
from wherry.api.router import Route
from wherry.api.routes.later import later
from wherry.daemon.daemon import Daemon
from wherry.image.delete import User
from wherry.model.errors import InvalidArgument, Unimplemented
from wherry.model.version import Version

PROGRESS = "application/json"


def list_images(d: Daemon, r: Request) -> Answer:
    filters = r.query.filters()
    if r.version < (1, 41) and r.query.text("filter"):
        filters = filters.with_more({"reference": [r.query.text("filter")]})
    found = d.images.summaries(filters, all_=r.query.flag("all"), shared_size=r.version >= (1, 42) and r.query.flag("shared-size"))
    users = Counter(container.record.image_id for container in d.containers.all())
    for image in found:
        _for_version(image, r.version)
        if r.version >= (1, 51):
            image["Containers"] = users[image["Id"]]
    return json_answer(found)


def _for_version(image: dict[str, Any], version: Version) -> None:
    if version < (1, 44):
        image["VirtualSize"] = image["Size"]
    if version < (1, 43):
        image["RepoTags"] = image["RepoTags"] or ["<none>:<none>"]
        image["RepoDigests"] = image["RepoDigests"] or ["<none>@<none>"]


def pull_or_import(d: Daemon, r: Request) -> Stream:
    if r.query.text("fromImage"):
        raise Unimplemented(f"pulling {r.query.text('fromImage')}: registries are not built yet; load an archive, or import a root file system")
    source = r.query.text("fromSrc")
    if not source:
        raise InvalidArgument("fromImage or fromSrc is needed")
    if source != "-":
        raise Unimplemented(f"fromSrc={source}: importing from a URL is not built yet; send the tar in the request's body (fromSrc=-)")
    q = r.query

    def produce(write: Write) -> None:
        progress = _Progress(write)
        image = d.images.import_rootfs(r.body(), q.text("repo"), q.text("tag"), q.text("message"), q.texts("changes"),
                                       q.text("platform") if r.version >= (1, 32) else "", progress)
        d.events.publish("image", "import", image.id, {"name": image.id})

    return Stream(PROGRESS, produce)


class _Progress:
    """Writes Docker's progress lines: one JSON object each, ended by CRLF, sent at once."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def __call__(self, line: dict[str, Any]) -> None:
        self._write(msgspec.json.encode(line) + b"\r\n")


def load(d: Daemon, r: Request) -> Stream:
    _refuse_platform(r)

    def produce(write: Write) -> None:
        progress = _Progress(write)
        try:
            for identifier in d.images.load(r.body(), progress):
                d.events.publish("image", "load", identifier, {"name": identifier})
        except ClientGone:
            raise
        except Exception as error:                 # every failure of a load is told in its stream
            progress({"errorDetail": {"message": message_of(error)}, "error": message_of(error)})

    return Stream(PROGRESS, produce)


def _refuse_platform(r: Request) -> None:
    if r.version >= (1, 48) and r.query.text("platform"):
        raise Unimplemented("platform: images of several platforms are not built yet")


class _Out(io.RawIOBase):
    """The answer as a file that is written once."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._write(bytes(data))
        return len(data)


def save(d: Daemon, r: Request) -> Stream:
    _refuse_platform(r)
    names = [r.vars["name"]] if "name" in r.vars else [name for text in r.query.texts("names") for name in text.split(",")]
    if not names:
        raise InvalidArgument("names: no image is named")
    images = [d.images.get(name) for name in names]

    def produce(write: Write) -> None:
        with io.BufferedWriter(_Out(write), 1 << 18) as out:
            d.images.save(names, out)
        for image in images:
            d.events.publish("image", "save", image.id, {"name": image.id})

    return Stream("application/x-tar", produce)


#: What an image's configuration shows even where it is not set.
_CONFIG = {"Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "", "Volumes": None, "WorkingDir": ""}


def inspect(d: Daemon, r: Request) -> Answer:
    if r.version >= (1, 49):
        _refuse_platform(r)
    shown = d.images.inspect(r.name)
    shown["Config"] = {**_CONFIG, **shown["Config"]}
    if r.version < (1, 44):
        shown["VirtualSize"] = shown["Size"]
    if r.version < (1, 45):
        shown["Container"], shown["ContainerConfig"] = "", None
    return json_answer(shown)


def history(d: Daemon, r: Request) -> Answer:
    _refuse_platform(r)
    return json_answer(d.images.history(r.name))


def tag(d: Daemon, r: Request) -> Answer:
    image = d.images.get(r.name)
    repo, name = r.query.needed("repo"), r.query.text("tag")
    d.images.tag(r.name, repo, name)
    d.events.publish("image", "tag", image.id, {"name": f"{repo}:{name or 'latest'}"})
    return Answer(201)


def delete(d: Daemon, r: Request) -> Answer:
    if r.version >= (1, 50) and r.query.texts("platforms"):
        raise Unimplemented("platforms: images of several platforms are not built yet")
    image = d.images.get(r.name)
    gone = d.images.delete(r.name, force=r.query.flag("force"), prune=not r.query.flag("noprune"), users=lambda: users(d))
    _tell(d, image.id, gone)
    return json_answer(gone)


def prune(d: Daemon, r: Request) -> Answer:
    found = d.images.prune(r.query.filters(), lambda: users(d))
    for record in found.get("ImagesDeleted") or ():
        _tell(d, record.get("Deleted", record.get("Untagged", "")), [record])
    if r.version >= (1, 41):
        d.events.publish("image", "prune", "", {"reclaimed": str(found.get("SpaceReclaimed", 0))})
    return json_answer(found)


def _tell(d: Daemon, identifier: str, gone: list[dict[str, str]]) -> None:
    """Events of names and images that went; a layer is deleted together with its image and has none."""
    for record in gone:
        if "Untagged" in record:
            d.events.publish("image", "untag", identifier, {"name": record["Untagged"]})
        elif record.get("Deleted") == identifier:
            d.events.publish("image", "delete", identifier, {"name": identifier})


def users(d: Daemon) -> list[User]:
    """The containers, as far as images are concerned."""
    return [User(c.id, c.record.image_id, c.state.running or c.state.status == "restarting") for c in d.containers.all()]


ROUTES = (
    Route("GET", "/images/json", list_images),
    Route("POST", "/images/create", pull_or_import),
    Route("POST", "/images/load", load),
    Route("POST", "/images/prune", prune, Version(1, 25)),
    Route("GET", "/images/get", save),
    *later("registries are not built yet", ("GET", "/images/search"), ("POST", "/images/{name}/push"), ("GET", "/distribution/{name}/json")),
    Route("GET", "/images/{name}/json", inspect),
    Route("GET", "/images/{name}/history", history),
    Route("GET", "/images/{name}/get", save),
    Route("POST", "/images/{name}/tag", tag),
    Route("DELETE", "/images/{name}", delete),
)
