"""The life of one connection: request after request, each answered before the next is read."""

from __future__ import annotations

import logging
from typing import Any

import h11

from wherry.api.channel import Channel, ClientGone
from wherry.api.errors import error_answer, error_body
from wherry.api.messages import EMPTY, Hijacked, Request, Stream, Watch
from wherry.api.router import Reply, Router
from wherry.model.errors import InvalidArgument

log = logging.getLogger(__name__)


class Connection:
    """Serves one client. `serve` returns when the client left, broke the protocol, or took the connection over."""

    def __init__(self, channel: Channel, router: Router, daemon: Any, watch: Watch, unwatch: Watch) -> None:
        self._channel = channel
        self._router = router
        self._daemon = daemon
        self._watch = watch
        self._unwatch = unwatch

    def serve(self) -> None:
        try:
            while self._serve_one():
                pass
        except ClientGone as gone:
            log.debug("%s", gone)
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def _serve_one(self) -> bool:
        """Read and answer one request; False when the connection ends with it."""
        channel = self._channel
        head = channel.next_request()
        if head is None:
            return False
        method = head.method.decode()
        reply = self._reply(method, head)
        if isinstance(reply, Hijacked):
            return False
        if isinstance(reply, Stream):
            return self._stream(method, reply)
        channel.answer(reply.status, list(reply.headers), reply.body, method == "HEAD")
        return channel.reusable()

    def _reply(self, method: str, head: h11.Request) -> Reply:
        """Route the request and run its handler; an error becomes its answer."""
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            request = Request(self._channel, method, head.target.decode("ascii"), headers, self._watch, self._unwatch)
            if method == "OPTIONS":
                return EMPTY
            handler = self._router.resolve(request)
            request.read_form()
            return handler(self._daemon, request)
        except ClientGone:
            raise
        except UnicodeDecodeError:
            return error_answer(InvalidArgument("the path is not ASCII; percent-encode it"))
        except Exception as error:
            if self._channel.hijacked:
                raise ClientGone(f"the connection was taken over when this failed: {error}") from error
            return error_answer(error)

    def _stream(self, method: str, stream: Stream) -> bool:
        channel = self._channel
        headers = [("Content-Type", stream.content_type), *stream.headers]

        def write(data: bytes) -> None:
            if channel.began:
                channel.write(data)
            else:
                channel.begin(200, headers, data)

        if method == "HEAD":
            channel.answer(200, headers, b"", head_only=True)
            return channel.reusable()
        try:
            stream.produce(write)
        except ClientGone:
            raise
        except Exception as error:
            answer = error_answer(error)
            if channel.began:
                raise ClientGone(f"broke the answer off: {error}") from error
            channel.answer(answer.status, list(answer.headers), answer.body)
            return channel.reusable()
        if not channel.began:
            channel.begin(200, headers)
        channel.end()
        return channel.reusable()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Tell a client that speaks no HTTP why the connection ends."""
        if self._channel.began:
            return
        body = error_body(InvalidArgument(f"not a valid HTTP request: {error}"))
        try:
            self._channel.answer(error.error_status_hint, [("Content-Type", "application/json"), ("Connection", "close")], body)
        except (ClientGone, h11.LocalProtocolError) as gone:
            log.debug("%s", gone)
