"""Downloads of published weights; if one fails, the error says how to get the weights by hand."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse
from urllib.request import getproxies

TIMEOUT_S = 30


def check_reachable(url: str) -> None:
    """Raise OSError unless the server answers. With a proxy, nothing is checked."""
    if not getproxies():
        socket.create_connection((urlparse(url).hostname or "", 443), timeout=TIMEOUT_S).close()


@contextmanager
def explain_download(remedy: str) -> Iterator[None]:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # a network that drops packets would block forever
    try:
        yield
    except Exception as error:  # each library has errors of its own
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"pretrained=true: the weights could not be downloaded ({why}); {remedy}") from error
    finally:
        socket.setdefaulttimeout(timeout)
