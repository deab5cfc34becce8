"""Runs the simulated vendors in their own process. Run ``python -m bench.vendor KEYS LATENCY [CERTIFICATE]``.

KEYS is a file with the key of an account in each line. LATENCY is the seconds before each response. CERTIFICATE is a
file with a private key and its chain. With it the vendors use TLS.
"""

from __future__ import annotations

import signal
import ssl
import sys
import threading
from pathlib import Path

from bench.workload import SERVICES
from exporter.demo import apis
from exporter.demo.vendors import SimulatedAccount, Vendors


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keys = Path(sys.argv[1]).read_text().split()
    tls = None
    if len(sys.argv) > 3:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[3])
    with Vendors(tls=tls, latency_seconds=float(sys.argv[2]), log_limit=0) as vendors:
        used = [0.0] * len(keys)

        def response(number: int) -> apis.Json:
            """Spend a little at each poll, so that figures change."""
            used[number] += 0.1
            return apis.vidnavigator_usage(services=SERVICES, monthly_remaining=max(0.0, 70 - used[number] % 70))

        for number, key in enumerate(keys):
            responses = {"/usage": lambda number=number: response(number)}
            vendors.accounts[key] = SimulatedAccount(apis.VIDNAVIGATOR, responses)
        print("serving", vendors.vidnavigator_url, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
