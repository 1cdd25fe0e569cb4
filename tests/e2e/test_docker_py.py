"""docker-py, the library that most Python programs use to talk to an engine."""

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

# The library leaves the sockets of its streams to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_run_and_logs(client: docker.DockerClient, name: str) -> None:
    assert client.containers.run("busybox", ["echo", "hi"], name=name, remove=True) == b"hi\n"
    with pytest.raises(ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 2"], name=name, remove=True)
    assert caught.value.exit_status == 2


def test_life_of_a_container(client: docker.DockerClient, name: str) -> None:
    container = client.containers.run("busybox", ["sleep", "600"], name=name, detach=True, labels={"who": "docker-py"}, mem_limit="64m")
    container.reload()
    assert container.status == "running" and container.labels == {"who": "docker-py"}
    assert container in client.containers.list(filters={"label": "who=docker-py"})
    code, output = container.exec_run(["sh", "-c", "echo in; exit 3"])
    assert (code, output) == (3, b"in\n")
    _, (out, err) = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert (out, err) == (b"o\n", b"e\n")
    assert any("sleep 600" in " ".join(row) for row in container.top()["Processes"])
    container.pause()
    container.unpause()
    container.rename(f"{name}-new")
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.remove()
    with pytest.raises(NotFound):
        client.containers.get(name)


def test_attach_before_start(client: docker.DockerClient, name: str) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "echo first; echo second"], name=name)
    stream = container.attach(stream=True, stdout=True, stderr=True)
    container.start()
    assert b"".join(stream) == b"first\nsecond\n"


def test_images_and_volumes(client: docker.DockerClient, name: str) -> None:
    image = client.images.get("busybox")
    assert image.tags == ["busybox:latest"] and image.id.startswith("sha256:")
    with pytest.raises(ImageNotFound):
        client.images.get("nothing-here")
    volume = client.volumes.create(name, labels={"a": "b"})
    script = ["sh", "-c", "echo x >/v/f; cat /v/f"]
    out = client.containers.run("busybox", script, name=name, volumes={name: {"bind": "/v", "mode": "rw"}}, remove=True)
    assert out == b"x\n"
    volume.remove()


def test_errors_carry_the_status(client: docker.DockerClient, name: str) -> None:
    container = client.containers.create("busybox", ["true"], name=name)
    with pytest.raises(APIError) as caught:
        client.containers.create("busybox", ["true"], name=name)
    assert caught.value.status_code == 409
    container.remove()


def test_events_and_info(client: docker.DockerClient, name: str) -> None:
    before = client.info()["SystemTime"]
    client.containers.run("busybox", ["true"], name=name, remove=True)
    assert before and client.version()["ApiVersion"] and client.ping()
