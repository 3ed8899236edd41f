"""Telling systemd how a service stands: a datagram to the socket that it names [sd_notify(3)]."""

from __future__ import annotations

import socket
from collections.abc import Mapping

__all__ = ["notify"]


def notify(environ: Mapping[str, str], state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or `STATUS=...`; nothing where nobody asked for it.

    Args:
        environ: NOTIFY_SOCKET is a path, or `@` and an abstract name.
        state: one or several assignments, a line each.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address[0] == "@" else address)
            sender.sendall(state.encode())
    except OSError:
        return                          # who asked is gone; the work goes on
