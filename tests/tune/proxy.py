"""A TCP proxy on loopback whose network can fail the worst way: packets vanish, and nobody is told."""

import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards connections to a server, until told to drop all they carry."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._dropping = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._close_all()

    def drop(self) -> None:
        """From now on swallow every byte, of old connections and new ones."""
        self._dropping.set()

    def restore(self) -> None:
        """Forward new connections again; the old ones break."""
        self._dropping.clear()
        self._close_all()

    def _close_all(self) -> None:
        for end in self._open:
            end.close()
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # the proxy has ended
                return
            far = socket.create_connection(self._target)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._dropping.is_set():
                    sink.sendall(data)
        except OSError:
            return
