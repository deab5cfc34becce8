"""The command ``demo``, which runs the unchanged exporter over the simulated vendors."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from exporter.demo.past import live
from exporter.demo.vendors import Vendors
from exporter.demo.world import make_world
from exporter.errors import UsageError
from exporter.options import DEFAULT_LISTEN, Options
from exporter.runtime import signals
from exporter.runtime.output import write

Announce = Callable[[Sequence[str]], None]


def run_demo(speed: float, options: Options, run: Callable[[Options, Announce], int]) -> int:
    """Start the vendors and run the exporter over them until it is stopped. Return its exit status."""
    with (
        tempfile.TemporaryDirectory(prefix="video-api-exporter-demo-") as name,
        Vendors(log_limit=0) as vendors,
    ):
        try:
            world = make_world(vendors, speed=speed)
        except ValueError as error:
            raise UsageError(f"--speed: {error}") from None
        directory = Path(name)
        config_file = world.write_config(directory, state_path := directory / "state.db")
        live(world, config_file, state_path, signals.is_stop_waiting)
        listen = ("127.0.0.1" + DEFAULT_LISTEN,) if options.listen_addresses == (DEFAULT_LISTEN,) else None
        options = replace(
            options,
            config_file=config_file,
            listen_addresses=listen or options.listen_addresses,
        )

        def announce(addresses: Sequence[str]) -> None:
            lines = [f"\n{len(world.accounts)} simulated accounts, {speed:g} simulated seconds a second. Open:\n"]
            for address in addresses:
                lines += (
                    f"  {address + '/':<42} the accounts at a glance",
                    f"  {address + options.telemetry_path:<42} what Prometheus scrapes",
                    f"  {address + '/api/v1/accounts':<42} the same as JSON",
                )
            report = shlex.join((sys.executable, "-m", "exporter", "report", f"--config.file={config_file}"))
            lines += ("\nWhat each account spent, in another terminal:\n", f"  {report}")
            write("\n".join([*lines, "\nCtrl-C stops the demo.\n\n"]))

        return run(options, announce)
