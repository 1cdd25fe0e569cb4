"""-p, -P and --expose: ports of the container and their places on the host."""

import _socket

from wherry.cli.options.process import bad

TYPE_CHECKING = False
if TYPE_CHECKING:
    Bindings = dict[str, list[dict[str, str]]]

PROTOCOLS = ("tcp", "udp", "sctp")


def is_ip(text: str, family: int = 0) -> bool:
    for candidate in (family,) if family else (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(candidate, text.partition("%")[0])
            return True
        except (OSError, ValueError):
            pass
    return False


def port_range(text: str) -> "tuple[int, int]":
    """First and last port of `80` or `80-90`; ValueError if it is none."""
    first, dash, last = text.partition("-")
    numbers = []
    for part in (first, last if dash else first):
        if not part.isascii() or not part.isdigit() or int(part) > 65535:
            raise ValueError(f'strconv.ParseUint: parsing "{part}": invalid syntax')
        numbers.append(int(part))
    if numbers[0] > numbers[1]:
        raise ValueError(f"invalid range specified for port: {text}")
    return numbers[0], numbers[1]


def split_protocol(text: str) -> "tuple[str, str]":
    """Port and protocol of `80/udp`; tcp if none is said."""
    port, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    return port, protocol


def publish(specs: "list[str]") -> "Bindings":
    """PortBindings of all -p: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    result: Bindings = {}
    for spec in specs:
        try:
            _publish_one(_short_form(spec), result)
        except ValueError as error:
            raise bad(str(error)) from None
    return result


def _short_form(spec: str) -> str:
    """`published=8080,target=80,protocol=udp` as `8080:80/udp`."""
    if "=" not in spec:
        return spec
    values = {"protocol": "tcp"}
    for part in spec.split(","):
        key, equals, value = part.partition("=")
        if key.lower() not in ("published", "target", "protocol", "mode") or not equals or not value:
            raise ValueError(f"invalid field '{part}': use published=, target=, protocol=")
        values[key.lower()] = value
    return f"{values.get('published', '')}:{values.get('target', '')}/{values['protocol']}"


def _publish_one(spec: str, result: "Bindings") -> None:
    rest, protocol = split_protocol(spec)
    front, _, container = rest.rpartition(":")
    ip, _, host = front.rpartition(":")
    if ip.startswith("["):
        ip = ip[1:].removesuffix("]")
    if not container:
        raise ValueError(f"no port specified: {spec}<empty>")
    if ip and not is_ip(ip):
        raise ValueError(f"invalid IP address: {ip}")
    first, last = _side("containerPort", container)
    if not host:
        places = [""] * (last - first + 1)
    else:
        host_first, host_last = _side("hostPort", host)
        if first == last and host_first != host_last:
            places = [host]
        elif host_last - host_first == last - first:
            places = [str(host_first + offset) for offset in range(last - first + 1)]
        else:
            raise ValueError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    for offset, place in enumerate(places):
        result.setdefault(f"{first + offset}/{protocol}", []).append({"HostIp": ip, "HostPort": place})


def _side(which: str, text: str) -> "tuple[int, int]":
    try:
        return port_range(text)
    except ValueError:
        raise ValueError(f"invalid {which}: {text}") from None


def exposed(flags_expose: "list[str]", published: "Bindings") -> "dict[str, dict[str, str]]":
    """ExposedPorts: what --expose names and what -p publishes."""
    result: dict[str, dict[str, str]] = {name: {} for name in published}
    for text in flags_expose:
        if ":" in text:
            raise bad(f"invalid port format for --expose: {text}")
        try:
            port, protocol = split_protocol(text)
            first, last = port_range(port)
        except ValueError as error:
            raise bad(f"invalid range format for --expose: {text}, error: {error}") from None
        for number in range(first, last + 1):
            result[f"{number}/{protocol}"] = {}
    return result
