"""Refuse every connection but those within this machine, in any Python that finds this folder on its path.

What is refused is also written into the file that FLARE_REFUSED names, since programs may catch the error.
"""

import os
import sys

LOCAL = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - listening is no connection


def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # others are sockets in the file system
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or ""
    if host not in LOCAL:
        with open(os.environ["FLARE_REFUSED"], "a") as file:
            file.write(f"{event} {host} by {' '.join(sys.argv)}\n")
        raise ConnectionRefusedError(f"{event} to {host} is refused")


sys.addaudithook(refuse)
