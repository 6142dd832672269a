"""A TCP proxy in front of a server that tests can make refuse, cut or go deaf."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

_CHUNK = 65_536


class Proxy:
    """Forwards 127.0.0.1:`port` to a server, until told otherwise.

    `serve` forwards, `refuse` closes the door (connection refused), `cut` drops who is connected, and
    `go_deaf` takes connections and bytes but passes nothing on, as a firewall or a hung host does.
    """

    def __init__(self) -> None:
        self._target: tuple[str, int] | None = None
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._guard = threading.Lock()
        self._hears = threading.Event()
        self._hears.set()
        self._bytes_left: int | None = None
        self._then = self.cut
        self.reached = threading.Event()  # set once the bytes of cut_after or go_deaf_after have gone
        self.port = 0

    def open(self, host: str, port: int) -> None:
        """Begin to forward to a server."""
        self._target = (host, port)
        self.serve()

    def serve(self) -> None:
        """Forward; connections that were taken while deaf go on."""
        self._hears.set()
        if self._listener is None:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen()
            self.port = listener.getsockname()[1]
            self._listener = listener
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no more connections and drop those there are, as a server that is down."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            # Wakes the thread that waits in accept; close alone would leave the port open.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Drop everybody who is connected."""
        with self._guard:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _shut(end)

    def cut_after(self, count: int) -> None:
        """Drop everybody once `count` more bytes have come for the server."""
        self._after(count, self.cut)

    def go_deaf_after(self, count: int) -> None:
        """Go deaf once `count` more bytes have come for the server."""
        self._after(count, self.go_deaf)

    def go_deaf(self) -> None:
        """Take connections and bytes, pass nothing on."""
        self._hears.clear()

    def close(self) -> None:
        """Stop for good."""
        self.refuse()
        self._hears.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            assert self._target is not None
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._guard:
                self._pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink, sink is server), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, inward: bool) -> None:
        try:
            while data := source.recv(_CHUNK):
                if inward and self._spent(len(data)):
                    self._then()
                    self.reached.set()
                self._hears.wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            _shut(source)
            _shut(sink)

    def _after(self, count: int, then: Callable[[], None]) -> None:
        with self._guard:
            self._bytes_left, self._then = count, then
        self.reached.clear()

    def _spent(self, count: int) -> bool:
        with self._guard:
            if self._bytes_left is None:
                return False
            self._bytes_left -= count
            if self._bytes_left > 0:
                return False
            self._bytes_left = None
            return True


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@pytest.fixture
def tcp_proxy() -> Iterator[Proxy]:
    """A proxy that is not yet open."""
    proxy = Proxy()
    yield proxy
    proxy.close()
