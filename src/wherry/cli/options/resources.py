"""Flags of `run` about limits, devices, security and logging."""

from wherry.cli import jsonlite, units
from wherry.cli.options.process import bad, invalid, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

ULIMITS = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
]


def limits(flags: "Flags") -> "dict[str, Any]":
    """The fields of HostConfig for memory, CPU, I/O and pids."""
    swappiness = flags.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise bad(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    result: dict[str, Any] = {
        "Memory": flags.number("memory"),
        "MemoryReservation": flags.number("memory-reservation"),
        "MemorySwap": flags.number("memory-swap"),
        "OomKillDisable": flags.on("oom-kill-disable"),
        "OomScoreAdj": flags.number("oom-score-adj"),
        "CpuShares": flags.number("cpu-shares"),
        "NanoCpus": flags.number("cpus"),
        "CpuPeriod": flags.number("cpu-period"),
        "CpuQuota": flags.number("cpu-quota"),
        "CpuRealtimePeriod": flags.number("cpu-rt-period"),
        "CpuRealtimeRuntime": flags.number("cpu-rt-runtime"),
        "CpusetCpus": flags.text("cpuset-cpus"),
        "CpusetMems": flags.text("cpuset-mems"),
        "PidsLimit": flags.number("pids-limit"),
        "BlkioWeight": flags.number("blkio-weight"),
        "BlkioWeightDevice": [_weight(text) for text in flags.items("blkio-weight-device")],
        "BlkioDeviceReadBps": [_rate("device-read-bps", text) for text in flags.items("device-read-bps")],
        "BlkioDeviceWriteBps": [_rate("device-write-bps", text) for text in flags.items("device-write-bps")],
        "BlkioDeviceReadIOps": [_rate("device-read-iops", text) for text in flags.items("device-read-iops")],
        "BlkioDeviceWriteIOps": [_rate("device-write-iops", text) for text in flags.items("device-write-iops")],
        "CpuCount": flags.number("cpu-count"),
        "CpuPercent": flags.number("cpu-percent"),
        "IOMaximumBandwidth": flags.number("io-maxbandwidth"),
        "IOMaximumIOps": flags.number("io-maxiops"),
        "Ulimits": ulimits(flags.items("ulimit")),
    }
    if swappiness != -1:
        result["MemorySwappiness"] = swappiness
    return result


def _device_value(flag: str, text: str) -> "tuple[str, str]":
    path, _, value = text.rpartition(":")
    if not path or not value:
        raise invalid(f"--{flag}", text, f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise invalid(f"--{flag}", text, f"bad format for device path: {text}")
    return path, value


def _weight(text: str) -> "dict[str, Any]":
    path, value = _device_value("blkio-weight-device", text)
    if not value.isdigit() or (int(value) and not 10 <= int(value) <= 1000):
        raise invalid("--blkio-weight-device", text, f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def _rate(flag: str, text: str) -> "dict[str, Any]":
    path, value = _device_value(flag, text)
    try:
        rate = units.size(value) if flag.endswith("bps") else units.integer(value, 0)
    except ValueError:
        form = "a number of bytes, with kb, mb or gb if wanted" if flag.endswith("bps") else "a number of operations"
        raise invalid(f"--{flag}", text, f"invalid rate for device: {text}: it must be {form}") from None
    return {"Path": path, "Rate": rate}


def capabilities(names: "list[str]") -> "list[str]":
    """Capabilities (capabilities(7)) in their full form, each once: `net_admin` is CAP_NET_ADMIN; ALL stands for itself."""
    full = {name if (name := given.strip().upper()) == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for given in names}
    return sorted(full)


def ulimits(texts: "list[str]") -> "list[dict[str, Any]]":
    """Ulimits by name: the last of one name wins; a hard limit that is not given is the soft one; -1 is no limit."""
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        soft_text, colon, hard_text = value.partition(":")
        try:
            if not equals or not value:
                raise ValueError(f"invalid ulimit argument: {text}")
            if name not in ULIMITS:
                raise ValueError(f"invalid ulimit type: {name}")
            soft = units.integer(soft_text, -1)
            hard = units.integer(hard_text, -1) if colon else soft
            if hard != -1 and (soft > hard or soft == -1):
                shown = f"{soft} > {hard}" if soft != -1 else f"soft: -1 (unlimited), hard: {hard}"
                raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {shown}")
        except ValueError as error:
            raise invalid("--ulimit", text, str(error)) from None
        result[name] = {"Name": name, "Soft": soft, "Hard": hard}
    return [result[name] for name in sorted(result)]


def devices(flags: "Flags") -> "tuple[list[dict[str, str]], list[dict[str, Any]]]":
    """HostConfig.Devices, and HostConfig.DeviceRequests for CDI names and --gpus."""
    nodes, cdi = [], []
    for text in flags.items("device"):
        if _is_cdi(text):
            cdi.append(text)
            continue
        host, *rest = text.split(":")
        mode = rest.pop() if rest and _is_mode(rest[-1]) else "rwm"
        inside = rest.pop(0) if rest else host
        if not host or not inside or rest or text.endswith(":"):
            raise bad(" is not an absolute path" if text.endswith(":") else f"bad format for path: {text}")
        nodes.append({"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": mode})
    requests: list[dict[str, Any]] = [_gpus(text) for text in flags.items("gpus")]
    if cdi:
        requests.append({"Driver": "cdi", "DeviceIDs": cdi})
    for rule in flags.items("device-cgroup-rule"):
        if not _is_rule(rule):
            raise invalid("--device-cgroup-rule", rule, f"invalid device cgroup format '{rule}'")
    return nodes, requests


def _is_mode(text: str) -> bool:
    return bool(text) and not text.strip("rwm") and len(set(text)) == len(text)


def _is_cdi(text: str) -> bool:
    """`vendor/class=name` (Container Device Interface specification, section on names)."""
    kind, equals, name = text.partition("=")
    return bool(equals and name) and not text.startswith("/") and kind.count("/") == 1


def _is_rule(text: str) -> bool:
    kind, _, rest = text.partition(" ")
    numbers, _, mode = rest.partition(" ")
    major, _, minor = numbers.partition(":")
    good_numbers = all(part == "*" or part.isdigit() for part in (major, minor))
    return kind in ("a", "b", "c") and good_numbers and bool(mode) and not mode.strip("rwm") and len(mode) <= 3


def _gpus(text: str) -> "dict[str, Any]":
    """`all`, a number, or csv of driver, count, device, capabilities, options."""
    from wherry.cli.options.mounts import csv_fields

    request: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", field
        if key == "count":
            if value != "all" and not value.isdigit():
                raise invalid("--gpus", text, f'invalid count ({value}): value must be either "all" or an integer: invalid syntax')
            request["Count"] = -1 if value == "all" else int(value)
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = pairs(value.split(","))
        else:
            raise invalid("--gpus", text, f"unexpected key '{key}' in '{field}'")
    if not request["Count"] and request["DeviceIDs"] is None:
        request["Count"] = 1
    return request


def security(flags: "Flags") -> "dict[str, Any]":
    """HostConfig.SecurityOpt; a seccomp profile is read here and sent as JSON; systempaths=unconfined empties both path lists."""
    result: dict[str, Any] = {}
    options = []
    for text in flags.items("security-opt"):
        divider = "=" if "=" in text else ":"
        key, found, value = text.partition(divider)
        if not found and key != "no-new-privileges":
            raise bad(f'Invalid --security-opt: "{text}"')
        if key == "systempaths":
            if value != "unconfined":
                raise bad(f'Invalid --security-opt: "{text}": systempaths can only be unconfined')
            result["MaskedPaths"] = result["ReadonlyPaths"] = []
            continue
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            text = f"seccomp={_seccomp(value)}"
        options.append(text)
    result["SecurityOpt"] = options
    return result


def _seccomp(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise bad(f"opening seccomp profile ({path}) failed: open {path}: {(error.strerror or str(error)).lower()}") from None
    try:
        return jsonlite.dumps(jsonlite.loads(data))
    except ValueError as error:
        raise bad(f"compacting json for seccomp profile ({path}) failed: {error}") from None


def logging(flags: "Flags") -> "dict[str, Any] | None":
    driver, options = flags.text("log-driver"), pairs(flags.items("log-opt"))
    if driver == "none" and options:
        raise bad("invalid logging opts for driver none")
    return {"Type": driver, "Config": options} if driver or options else None


def restart_policy(text: str, remove: bool) -> "dict[str, Any] | None":
    """`no`, `always`, `unless-stopped`, `on-failure[:n]`; which names exist is the daemon's to say."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise bad("invalid restart policy format: no policy provided before colon")
    if colon and (":" in count or not count.isdigit()):
        raise bad("invalid restart policy format: maximum retry count must be an integer")
    if name in ("", "no"):
        return None
    if remove:
        raise bad("conflicting options: cannot specify both --restart and --rm")
    return {"Name": name, "MaximumRetryCount": int(count or "0")}
