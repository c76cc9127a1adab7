"""Loaded by scheduler and workers of the embedded cluster: ends the http server that Dask opens beside each of them.

It takes no keys, and would serve pages about the run to whoever asks on this machine.
"""

from typing import Any


def dask_setup(server: Any) -> None:
    """End it; Dask calls this before the process takes work."""
    server.http_server.stop()
