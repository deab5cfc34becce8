"""Send the exporter SIGHUP when the kubelet has brought a new configuration; runs beside it, sharing its processes."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import time
from pathlib import Path


def exporter_pid(health_port: int) -> int | None:
    """Return the exporter's process, or None while none responds."""
    # Before it serves it may not have its handlers yet, and SIGHUP would end it.
    connection = http.client.HTTPConnection("127.0.0.1", health_port, timeout=4)
    try:
        connection.request("GET", "/-/healthy")
        if connection.getresponse().status != http.client.OK:
            return None
    except OSError:
        return None
    finally:
        connection.close()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if any(os.path.basename(argument) == b"video-api-exporter" for argument in arguments[:2]):
            return int(process.name)
    return None


def main(directory: str, interval: str, health_port: str) -> None:
    """Watch the link that the kubelet swaps when any file of the volume changed."""
    link = os.path.join(directory, "..data")
    signalled = None
    while True:
        # Signal at the first look too, because the change may have come between the exporter's start and ours.
        current = os.readlink(link)
        if current != signalled and (pid := exporter_pid(int(health_port))) is not None:
            os.kill(pid, signal.SIGHUP)
            print(f"process {pid} reloads because of {current}", flush=True)
            signalled = current
        time.sleep(float(interval))


if __name__ == "__main__":
    main(*sys.argv[1:])
