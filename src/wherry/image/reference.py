"""Image references: `[domain[:port]/]path[:tag][@algorithm:hex]`, in Docker's grammar and with Docker's defaults.

Grammar: github.com/distribution/reference, which OCI Distribution Specification 1.1 section "Pulling manifests" narrows down.
A name without a domain belongs to `docker.io`, and one without a slash to `docker.io/library`; the *familiar* form leaves
both out again. A name of 64 hex digits is refused, because it could not be told from an image ID.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherry.model.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
MAX_NAME = 255  # bytes of domain and path together

_ALNUM = r"[a-z0-9]+"
_COMPONENT = rf"{_ALNUM}(?:(?:\.|_|__|-+){_ALNUM})*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_HEX64 = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A checked, normalised reference; `tag` and `digest` are empty where none was given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Full repository name: `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """Repository name as people write it: `busybox`, `user/app`, `registry.example/app`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(DEFAULT_NAMESPACE + "/")
        return self.path if "/" in rest else rest

    def with_default_tag(self) -> Reference:
        """`:latest` is added where there is neither tag nor digest."""
        return self if self.tag or self.digest else Reference(self.domain, self.path, DEFAULT_TAG)

    def tagged(self) -> Reference:
        """The same without the digest."""
        return Reference(self.domain, self.path, self.tag)

    def canonical(self) -> Reference:
        """The same without the tag."""
        return Reference(self.domain, self.path, "", self.digest)

    def familiar(self) -> str:
        return self.familiar_name + self._suffix()

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Read a reference as a person writes it. Raises InvalidArgument with Docker's words where Docker has any."""
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise InvalidArgument(f"invalid reference format: {text!r}: the digest must be sha256: and 64 hex digits")
    if _HEX64.fullmatch(rest):
        raise InvalidArgument(f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(f"invalid reference format: {text!r}: bad tag {tag!r}")
    domain, path = _split_domain(head + slash + last)
    if not _DOMAIN.fullmatch(domain):
        raise InvalidArgument(f"invalid reference format: {text!r}: bad registry {domain!r}")
    if path != path.lower():
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _PATH.fullmatch(path):
        raise InvalidArgument(f"invalid reference format: {text!r}")
    if len(domain) + 1 + len(path) > MAX_NAME:
        raise InvalidArgument(f"repository name must not be more than {MAX_NAME} characters")
    return Reference(domain, path, tag, digest)


def is_digest(text: str) -> bool:
    """True for `sha256:` and 64 lower-case hex digits, the only algorithm in use (R7: the form is checked before any use)."""
    return _DIGEST.fullmatch(text) is not None


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = f"{DEFAULT_NAMESPACE}/{path}"
    return domain, path
