"""What a create request may ask: signals, CPU sets, ports, ulimits, security options, log sizes."""

from __future__ import annotations

import signal

import pytest

from wherry.daemon import ports, verify
from wherry.daemon.attach import parse_keys
from wherry.daemon.rlimits import rlimit
from wherry.model.config import Config, HostConfig, PortBinding
from wherry.model.errors import InvalidArgument
from wherry.network.endpoint import PortMapping


@pytest.mark.parametrize(("text", "number"), [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", int(signal.SIGRTMIN) + 3), ("RTMAX-1", 63)])
def test_signals(text: str, number: int) -> None:
    assert verify.parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIGFOO", "-9", "RTMIN+99", "٣"])
def test_bad_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal"):
        verify.parse_signal(text)


def test_cpusets() -> None:
    assert verify.parse_cpuset("0-2,5") == {0, 1, 2, 5}
    for wrong in ("", "a", "3-1", "0-", "0-99999"):
        with pytest.raises(InvalidArgument):
            verify.parse_cpuset(wrong)


def test_ports_asked_for() -> None:
    host = HostConfig(port_bindings={"80/tcp": [PortBinding(host_port="8080"), PortBinding(host_ip="127.0.0.1", host_port="9000-9002")],
                                     "53/udp": None},
                      publish_all_ports=True)
    assert ports.wanted(Config(exposed_ports={"80/tcp": {}, "443": {}}), host) == [
        PortMapping(80, "tcp", "", 8080, 0), PortMapping(80, "tcp", "127.0.0.1", 9000, 9002), PortMapping(53, "udp"), PortMapping(443, "tcp"),
    ]
    for key, place in (("0/tcp", "1"), ("x", "1"), ("80/tcp", "70000"), ("80/tcp", "9-8"), ("80/tcp", "-1")):
        with pytest.raises(InvalidArgument):
            ports.wanted(Config(), HostConfig(port_bindings={key: [PortBinding(host_port=place)]}))


def test_ulimits() -> None:
    assert rlimit("nofile", 10, 20, asked=True)[:4] == (7, "nofile", 10, 20)
    assert rlimit("core", -1, -1, asked=False).soft == -1
    for name, soft, hard in (("nosuch", 1, 1), ("nofile", 5, 4), ("nofile", -1, 4)):
        with pytest.raises(InvalidArgument):
            rlimit(name, soft, hard, asked=True)


def test_security_options() -> None:
    def options(*texts: str) -> verify.SecurityOptions:
        return verify.security_options(HostConfig(security_opt=list(texts)))

    assert options() == verify.SecurityOptions(False, "")
    assert options("no-new-privileges", "seccomp=unconfined") == verify.SecurityOptions(True, "unconfined")
    assert options("no-new-privileges:false", 'seccomp={"a": 1}') == verify.SecurityOptions(False, '{"a": 1}')
    for wrong in ("nosuch", "apparmor=docker-default", "label=type:x", "no-new-privileges=maybe"):
        with pytest.raises(InvalidArgument, match="security-opt"):
            options(wrong)


def test_detach_keys() -> None:
    assert parse_keys("") == b"\x10\x11"
    assert parse_keys("ctrl-a,x,ctrl-[") == b"\x01x\x1b"
    for wrong in ("ctrl-1", "xx", "ctrl-"):
        with pytest.raises(InvalidArgument):
            parse_keys(wrong)


@pytest.mark.parametrize(("config", "host", "said"), [
    (Config(hostname="x"), HostConfig(network_mode="container:a"), "hostname and the network mode"),
    (Config(exposed_ports={"80/tcp": {}}), HostConfig(network_mode="container:a"), "port exposing and the container type"),
    (Config(), HostConfig(network_mode="container:a", publish_all_ports=True), "port publishing and the container type"),
    (Config(), HostConfig(network_mode="container:a", port_bindings={"80/tcp": None}), "port publishing and the container type"),
    (Config(), HostConfig(network_mode="container:a", dns=["1.1.1.1"]), "dns and the network mode"),
    (Config(), HostConfig(network_mode="container:a", extra_hosts=["a:1.1.1.1"]), "custom host-to-IP mapping"),
    (Config(hostname="x"), HostConfig(network_mode="bridge", uts_mode="host"), "hostname and the UTS mode"),
])
def test_modes_that_exclude_options(config: Config, host: HostConfig, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        verify._check_modes(config, host)
    verify._check_modes(Config(), HostConfig(network_mode="container:a"))


def test_resources_that_cannot_be() -> None:
    for host, said in (
        (HostConfig(memory_reservation=1 << 20), "Minimum memory reservation allowed is 6MB"),
        (HostConfig(nano_cpus=1_000_000_000, cpu_quota=5000), "Nano CPUs and CPU Quota cannot both be set"),
        (HostConfig(nano_cpus=1_000_000_000, cpu_period=5000), "Nano CPUs and CPU Period cannot both be set"),
        (HostConfig(cpuset_cpus="x"), "Invalid value x for cpuset cpus: invalid format: x"),
        (HostConfig(cpuset_mems="8000"), "Requested memory nodes are not available - requested 8000, available: 0"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            verify._check_resources(host)


def test_names_that_are_not() -> None:
    for host, said in (
        (HostConfig(cap_add=["FOO"]), 'invalid CapAdd: unknown capability: "FOO"'),
        (HostConfig(cap_drop=["CAP_FOO"], privileged=True), 'invalid CapDrop: unknown capability: "CAP_FOO"'),
        (HostConfig(annotations={"": "x"}), "the empty string is not permitted as an annotation key"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            verify._check_process(Config(), host)


def test_sysctls_of_a_network_that_is_joined() -> None:
    wanted = {"net.ipv4.ip_forward": "1"}
    verify._check_modes(Config(), HostConfig(network_mode="container:a", sysctls=wanted))
    with pytest.raises(InvalidArgument, match="not allowed in host network namespace"):
        verify._check_modes(Config(), HostConfig(network_mode="host", sysctls=wanted))
