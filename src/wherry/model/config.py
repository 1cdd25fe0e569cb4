"""What a client asks for: Docker's Config, HostConfig and NetworkingConfig with all their fields (API 1.51), frozen.

Field names are Docker's in the JSON (`rename`), ours in Python. Defaults are Go's zero values, so that "not set" and "default" are one."""

from __future__ import annotations

from typing import Any

import msgspec


def pascal(name: str) -> str:
    return SPECIAL.get(name) or "".join(part.capitalize() for part in name.split("_"))


SPECIAL = {
    "nano_cpus": "NanoCpus", "uts_mode": "UTSMode", "container_id_file": "ContainerIDFile", "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps", "io_maximum_iops": "IOMaximumIOps", "io_maximum_bandwidth": "IOMaximumBandwidth",
    "ip_address": "IPAddress", "ip_prefix_len": "IPPrefixLen", "ipv6_gateway": "IPv6Gateway", "global_ipv6_address": "GlobalIPv6Address",
    "global_ipv6_prefix_len": "GlobalIPv6PrefixLen", "ipam_config": "IPAMConfig", "ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs", "host_ip": "HostIp", "network_id": "NetworkID", "endpoint_id": "EndpointID", "dns_names": "DNSNames",
    "device_ids": "DeviceIDs", "kernel_memory_tcp": "KernelMemoryTCP",
}


class Plain(msgspec.Struct, frozen=True, rename=pascal, kw_only=True):
    """Base of all request records."""


class HealthConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    """Durations in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Config(Plain, frozen=True, rename=pascal, kw_only=True):
    """The portable half of a container: what an image can set too."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class PortBinding(Plain, frozen=True, rename=pascal, kw_only=True):
    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Plain, frozen=True, rename=pascal, kw_only=True):
    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    type: str = ""
    config: dict[str, str] | None = None


class Ulimit(Plain, frozen=True, rename=pascal, kw_only=True):
    name: str = ""
    soft: int = 0
    hard: int = 0


class DeviceMapping(Plain, frozen=True, rename=pascal, kw_only=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Plain, frozen=True, rename=pascal, kw_only=True):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class WeightDevice(Plain, frozen=True, rename=pascal, kw_only=True):
    path: str = ""
    weight: int = 0


class ThrottleDevice(Plain, frozen=True, rename=pascal, kw_only=True):
    path: str = ""
    rate: int = 0


class BindOptions(Plain, frozen=True, rename=pascal, kw_only=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Plain, frozen=True, rename=pascal, kw_only=True):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    subpath: str = ""
    driver_config: DriverConfig | None = None


class ImageOptions(Plain, frozen=True, rename=pascal, kw_only=True):
    subpath: str = ""


class TmpfsOptions(Plain, frozen=True, rename=pascal, kw_only=True):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class MountRequest(Plain, frozen=True, rename=pascal, kw_only=True):
    """One entry of HostConfig.Mounts."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    cluster_options: dict[str, Any] | None = None


class HostConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    """The half of a container that belongs to this host. Memory in bytes, CPU period and quota in microseconds."""

    binds: list[str] | None = None
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0
    mounts: list[MountRequest] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class IPAMConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] | None = None


class EndpointSettings(Plain, frozen=True, rename=pascal, kw_only=True):
    """One network of a container: what is asked for, and in answers what is."""

    ipam_config: IPAMConfig | None = None
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: list[str] | None = None


class NetworkingConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class ExecConfig(Plain, frozen=True, rename=pascal, kw_only=True):
    """The body of POST /containers/{id}/exec."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | None = None
