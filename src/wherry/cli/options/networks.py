"""--network and what belongs to it: the endpoints of the container, hosts and DNS."""

import _socket

from wherry.cli.options.mounts import csv_fields
from wherry.cli.options.ports import is_ip
from wherry.cli.options.process import bad, invalid, mac_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

    Endpoint = dict[str, Any]

_BUILT_IN = ("", "default", "bridge", "host", "none")
_KEYS = ("name", "alias", "ip", "ip6", "mac-address", "link-local-ip", "driver-opt", "gw-priority")


def user_defined(mode: str) -> bool:
    return mode not in _BUILT_IN and not mode.startswith("container:")


def endpoints(flags: "Flags") -> "tuple[str, dict[str, Endpoint]]":
    """HostConfig.NetworkMode, and NetworkingConfig.EndpointsConfig for all --network."""
    named = [_parse(text) for text in flags.items("network")] or [("default", {})]
    _apply_flags(flags, *named[0])
    result: dict[str, Endpoint] = {}
    for name, endpoint in named:
        if name in result:
            raise bad(f'network "{name}" is specified multiple times')
        result[name] = endpoint
    kinds = {user_defined(name) for name in result}
    if len(kinds) == 2:
        raise bad("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return named[0][0], result


def _parse(text: str) -> "tuple[str, Endpoint]":
    """`NAME`, or the csv form `name=NAME,alias=...,ip=...`."""
    if "=" not in text:
        return text, {}
    name = ""
    endpoint: Endpoint = {}
    addresses: dict[str, Any] = {}
    try:
        for field in csv_fields(text):
            key, equals, value = field.partition("=")
            key = key.lower().strip()
            if not equals or key not in _KEYS:
                raise ValueError(f"invalid field '{field}'" if not equals else f"invalid field key {key}")
            if key == "name":
                name = value
            elif key == "alias":
                endpoint.setdefault("Aliases", []).append(value)
            elif key == "mac-address":
                endpoint["MacAddress"] = value
            elif key == "driver-opt":
                option, has_value, setting = value.partition("=")
                if not option or not has_value:
                    raise ValueError(f"invalid key value pair format in driver options: '{value}'")
                endpoint.setdefault("DriverOpts", {})[option.lower()] = setting
            elif key == "gw-priority":
                endpoint["GwPriority"] = int(value)
            else:
                _address(addresses, key, value)
    except ValueError as error:
        raise invalid("--network", text, str(error)) from None
    if not name:
        raise invalid("--network", text, "network name/id is not specified")
    if addresses:
        endpoint["IPAMConfig"] = addresses
    return name, endpoint


def _address(addresses: "dict[str, Any]", key: str, value: str) -> None:
    family = {"ip": _socket.AF_INET, "ip6": _socket.AF_INET6}.get(key, 0)
    if not is_ip(value, family):
        raise ValueError(f"{value} is not an ip address")
    if key == "link-local-ip":
        addresses.setdefault("LinkLocalIPs", []).append(value)
    else:
        addresses["IPv4Address" if key == "ip" else "IPv6Address"] = value


def _apply_flags(flags: "Flags", name: str, endpoint: "Endpoint") -> None:
    """--network-alias, --link, --ip, --ip6, --link-local-ip and --mac-address belong to the first network."""
    aliases = flags.items("network-alias")
    if aliases:
        if not user_defined(name):
            raise bad("network-scoped aliases are only supported for user-defined networks")
        if "Aliases" in endpoint:
            raise bad("conflicting options: cannot specify both --network-alias and per-network alias")
        endpoint["Aliases"] = aliases
    if flags.items("link") and user_defined(name):
        endpoint["Links"] = flags.items("link")
    if flags.text("mac-address"):
        if endpoint.get("MacAddress"):
            raise bad("conflicting options: cannot specify both --mac-address and per-network MAC address")
        endpoint["MacAddress"] = mac_address(flags)
    addresses = endpoint.get("IPAMConfig", {})
    for flag, field in (("ip", "IPv4Address"), ("ip6", "IPv6Address")):
        if flags.text(flag):
            if field in addresses:
                raise bad(f"conflicting options: cannot specify both --{flag} and per-network {flag}")
            addresses[field] = flags.text(flag)
    if flags.items("link-local-ip"):
        addresses.setdefault("LinkLocalIPs", []).extend(flags.items("link-local-ip"))
    if addresses:
        endpoint["IPAMConfig"] = addresses


def extra_hosts(flags: "Flags") -> "list[str]":
    """`host:ip` of all --add-host, which may also be written `host=ip`; an IPv6 address may stand in brackets."""
    result = []
    for text in flags.items("add-host"):
        divider = "=" if "=" in text else ":"
        name, found, address = text.partition(divider)
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        if not found or not name:
            raise invalid("--add-host", text, f'bad format for add-host: "{text}"')
        if address != "host-gateway" and not is_ip(address):
            raise invalid("--add-host", text, f'invalid IP address in add-host: "{address}"')
        result.append(f"{name}:{address}")
    return result


def dns(flags: "Flags") -> "dict[str, list[str]]":
    for address in flags.items("dns"):
        if not is_ip(address.strip()):
            raise invalid("--dns", address, f"IP address is not correctly formatted: {address}")
    for domain in flags.items("dns-search"):
        if domain.strip() != "." and not _is_domain(domain.strip()):
            raise invalid("--dns-search", domain, f"{domain} is not a valid domain")
    return {
        "Dns": [address.strip() for address in flags.items("dns")],
        "DnsSearch": [domain.strip() for domain in flags.items("dns-search")],
        "DnsOptions": flags.items("dns-option"),
    }


def _is_domain(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return len(text) <= 255 and all(
        label and len(label) <= 63 and label.isascii() and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )
