"""Writes results as Markdown tables, for the terminal and for ``docs/performance.md``."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HELD = 0.999
"""The part of the polls that must start within 2 s, for a rate to count as held."""


def summary_table(read: Callable[[str], dict[str, Any]]) -> str:
    """Return the figures with which the page begins: ours, the best peer's, the machine's limit, ours by the limit."""
    lines = ["| | ours | best peer | limit | ours ÷ limit |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [*_running_summary(read("running")["rows"]), *_scrape_summary(read("scrape-10000")["rows"])]
    lines += _cost_summary(read("cost")["rows"])
    runs, start = read("poll")["runs"], read("start")
    fleet = next(run for run in runs if run["accounts"] == 10_000)
    pause = max(
        (row for row in read("pauses")["rows"] if row["name"] != "nothing"), key=lambda row: float(row["loop_ms"])
    )
    for title, figure in {
        "CPU to poll 10,000 accounts every 5 minutes and serve them": f"{fleet['cpu_share']:.0%} of one core",
        "Memory with 10,000 accounts": f"{_figure(fleet['memory_mb'])} MB",
        "Most polls in a second of which all start in time": _figure(
            max((run["polls_per_second"] for run in runs if run["in_time"] >= HELD), default=None)
        ),
        "Longest pause of an event loop, 10,000 accounts": f"{_figure(pause['loop_ms'])} ms",
        "Reload of 10,000 accounts, one of them removed": f"{_figure(fleet['reload_s'])} s",
        "`check-config` of 10,000 accounts": f"{_figure(start['check-config, 10,000 accounts'])} s",
        "From the start to the first whole `/metrics`, 10 accounts": (
            f"{_figure(start['start to the first whole /metrics, 10 accounts'])} s"
        ),
        "Memory with 10 accounts": f"{_figure(start['resident MB then, 10 accounts'])} MB",
    }.items():
        lines.append(f"| {title} | **{figure}** | | | |")
    return "\n".join(lines)


def _running_summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    limit, ours = rows
    for which, title in (("p50", "median"), ("p99", "99 of 100")):
        yield (
            f"| Scrape of 10,000 accounts while they are polled, with gzip, {title} | **{_figure(ours[which])} ms** |"
            f" | {_figure(limit[which])} ms, {limit['name']} | {_figure(ours[which] / limit[which])} |"
        )


def _scrape_summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    named = {row["name"]: row for row in rows if row["encoding"] == "gzip"}
    ours, limit = named["exporter, 1 % changed"], named.get("nginx, a ready file")
    peers = [row for name, row in named.items() if not name.startswith(("exporter", "nginx"))]
    for which, title in (("p50", "median"), ("p99", "99 of 100")):
        peer = min(peers, key=lambda row: float(row[which]), default=None)
        cells = [
            f"Scrape of 10,000 accounts of which 1 % changed, with gzip, {title}",
            f"**{_figure(ours[which])} ms**",
            f"{_figure(peer[which])} ms, {peer['name']}" if peer else "",
            f"{_figure(limit[which])} ms, {limit['name']}" if limit else "",
            _figure(ours[which] / limit[which]) if limit else "",
        ]
        yield "| " + " | ".join(cells) + " |"


def _cost_summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    named = {row["name"]: float(row["cpu_ms"]) for row in rows}
    for title, name, limit in (
        ("CPU of a poll", "a poll", "the least"),
        ("CPU of a poll over TLS, sessions resumed", "a poll over TLS", "the least over TLS"),
        ("CPU of a poll with history", "a poll", "a poll without history"),
    ):
        ours, least = named[name], named[limit]
        words = limit.replace("a poll ", "")
        yield f"| {title} | **{_figure(ours)} ms** | | {_figure(least)} ms, {words} | {_figure(ours / least)} |"


def scrape_table(result: dict[str, Any]) -> str:
    """Return the scrapes of a run, compared with nginx and pushgateway."""
    lines = []
    for encoding in ("gzip", "identity"):
        rows = [row for row in result["rows"] if row["encoding"] == encoding]
        if not rows:
            continue
        limit = next((row["p50"] for row in rows if row["name"].startswith("nginx")), None)
        gateway = next((row["p50"] for row in rows if row["name"] == "pushgateway"), None)
        lines += [
            f"**{result['accounts']:,} accounts, {encoding}** (load {result['machine']['load']} at the end)\n",
            "| | p50 ms | p99 ms | ÷ nginx | pushgateway ÷ | CPU ms | kB | ÷ gzip -9 | series | RSS MB | scrapes |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in rows:
            cells = [
                row["name"],
                _figure(row["p50"]),
                _figure(row["p99"]),
                _figure(row["p50"] / limit if limit else None),
                _figure(gateway / row["p50"] if gateway else None),
                _figure(row["cpu"]),
                _figure(row["wire"] / 1e3),
                _figure(row["wire"] / row["packed"] if row["packed"] else None),
                f"{row['series']:,}",
                _figure(row["memory"]),
                str(row["scrapes"]),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines += [f"{name} was not measured ({reason}).\n" for name, reason in result["missing"].items()]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def running_table(result: dict[str, Any]) -> str:
    """Return the scrapes of a fleet that is polled, compared with nginx."""
    limit = result["rows"][0]
    lines = [
        f"{result['accounts']:,} accounts, {_figure(result['polls_per_second'])} polls a second\n",
        "| | p50 ms | ÷ nginx | p90 ms | ÷ nginx | p99 ms | ÷ nginx | scrapes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        cells = [row["name"]]
        for which in ("p50", "p90", "p99"):
            cells += [_figure(row[which]), _figure(row[which] / limit[which])]
        lines.append("| " + " | ".join([*cells, str(row["scrapes"])]) + " |")
    return "\n".join(lines) + "\n"


def poll_table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the rates of polls and their cost."""
    names = {
        "accounts": "accounts",
        "interval": "interval s",
        "polls_per_second": "polls a second",
        "in_time": "started within 2 s",
        "mean_lag_ms": "mean lag ms",
        "cpu_share": "CPU, of one core",
        "cpu_per_poll_ms": "CPU ms a poll",
        "vendor_cpu_share": "simulator's CPU",
        "scrape_p50_ms": "scrape p50 ms",
        "scrape_p99_ms": "p99 ms",
        "memory_mb": "RSS MB",
        "ready_s": "start s",
        "reload_s": "reload s",
    }
    lines = ["| " + " | ".join(names.values()) + " |", "| " + " | ".join(["---:"] * len(names)) + " |"]
    for run in runs:
        cells = []
        for name in names:
            value = run[name]
            if name == "in_time":
                cells.append(f"{value:.2%}")
            elif name.endswith("share"):
                cells.append(f"{value:.1%}")
            else:
                cells.append(f"{value:,}" if isinstance(value, int) else _figure(value))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def start_table(result: dict[str, Any]) -> str:
    """Return the times to start."""
    lines = ["| | s | least to most |", "| --- | ---: | ---: |"]
    for name, value in result.items():
        if isinstance(value, float):
            spread = " to ".join(map(_figure, result.get("spread", {}).get(name, ())))
            lines.append(f"| {name} | {_figure(value)} | {spread} |")
    imports = ", ".join(f"{name} {ms:.0f}" for name, ms in result["imports"].items())
    return "\n".join([*lines, "", f"Imports in milliseconds, each with what it imports itself, are {imports}.", ""])


def cost_table(result: dict[str, Any]) -> str:
    """Return the CPU of each kind of poll, compared with the least over the same connection."""
    lines = ["| | CPU ms | least to most | ÷ the least |", "| --- | ---: | ---: | ---: |"]
    named = {row["name"]: float(row["cpu_ms"]) for row in result["rows"]}
    for row in result["rows"]:
        least = named["the least over TLS" if row["name"].endswith("TLS") else "the least"]
        spread = " to ".join(map(_figure, row["spread"]))
        lines.append(f"| {row['name']} | {_figure(row['cpu_ms'])} | {spread} | {_figure(row['cpu_ms'] / least)} |")
    return "\n".join(lines) + "\n"


def declared_table(result: dict[str, Any]) -> str:
    """Return the CPU of a poll by code and by data, and the quartiles of their ratio."""
    low, high = map(_figure, result["spread"])
    return (
        "| accounts | turns | by code, CPU ms | by data, CPU ms | data ÷ code | middle half |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: |\n"
        f"| {result['accounts']:,} | {result['turns']} | {_figure(result['code_ms'])} | {_figure(result['data_ms'])} "
        f"| {_figure(result['ratio'])} | {low} to {high} |\n"
    )


def state_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what a poll costs with its state in a file and in a database, compared with the file."""
    names = {
        "polls_per_second": "polls a second",
        "cpu_per_poll_ms": "exporters' CPU ms a poll",
        "ratio": "÷ file",
        "server_cpu_per_poll_ms": "database's CPU ms a poll",
        "statements_per_poll": "statements a poll",
        "round_trips_per_poll": "round trips a poll",
        "bytes_per_poll": "bytes a poll",
    }
    lines = ["| state | " + " | ".join(names.values()) + " |", "| --- |" + " ---: |" * len(names)]
    for row in rows:
        values = {**row, "ratio": row["cpu_per_poll_ms"] / rows[0]["cpu_per_poll_ms"]}
        many = "" if row["replicas"] == 1 else "s"
        title = "file" if row["state"] == "file" else f"PostgreSQL, {row['replicas']} exporter{many}"
        cells = [_figure(values[name]) if row["state"] != "file" or values[name] else "" for name in names]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    of_database = [row for row in rows if row["state"] != "file"]
    first, last = of_database[0], of_database[-1]
    if last["replicas"] > first["replicas"]:
        lines += ["", _on_paper(first, last, replicas=100, polls_per_second=10_000 / 300)]
    return "\n".join(lines) + "\n"


def _on_paper(first: dict[str, Any], last: dict[str, Any], *, replicas: int, polls_per_second: float) -> str:
    """Return the load of many replicas on the database, from the measured load of one and of some more.

    A further replica looks for news several times a second, and reads each state that another saved.
    """
    more = int(last["replicas"]) - int(first["replicas"])

    def further(name: str) -> float:
        """Return by how much each further replica raises a figure of a poll."""
        return (float(last[name]) - float(first[name])) / more

    looks = (replicas - 1) * last["polls_per_second"]  # as often as measured, however few polls there are
    statements = polls_per_second * first["statements_per_poll"] + looks * further("statements_per_poll")
    cpu = polls_per_second * first["server_cpu_per_poll_ms"] + looks * further("server_cpu_per_poll_ms")
    sent = polls_per_second * (first["bytes_per_poll"] + (replicas - 1) * further("bytes_per_poll"))
    asked = f"{_figure(statements)} statements and {_figure(sent / 1e6)} MB a second, and for {cpu / 1e3:.1f} cores"
    return f"On paper, {replicas} replicas with 10,000 accounts every 5 minutes ask the database for {asked}."


def many_table(result: dict[str, Any]) -> str:
    """Return the figures of an exporter with very many accounts."""
    rows = {
        "start with the states of an earlier run, s": result["ready_s"],
        "resident MB after the start": result["memory_at_start_mb"],
        "resident MB after scrapes and pages": result["memory_mb"],
        "resident MB after a reload": result["memory_after_reload_mb"],
        "resident MB at the most": result["memory_peak_mb"],
        "reload that removes an account, s": result["reload_s"],
        "`/metrics` after it, s": result["page_after_reload_s"],
        "`/-/healthy` at the worst beside the reload, s": result["health"]["reload"],
    }
    lines = [f"| {result['accounts']:,} accounts | |", "| --- | ---: |"]
    lines += [f"| {name} | {_figure(value)} |" for name, value in rows.items()]
    lines += ["", "| path | first byte s | last byte s | `/-/healthy` at the worst beside it s |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    for path, seconds in result["endpoints"].items():
        figures = result["first"][path], seconds, result["health"][path]
        lines.append(f"| `{path}` | " + " | ".join(map(_figure, figures)) + " |")
    return "\n".join(lines) + "\n"


def pause_table(result: dict[str, Any]) -> str:
    """Return for how long each step held the interpreter and an event loop at the most."""
    lines = [f"**{result['accounts']:,} accounts**\n", "| | ms in all | a thread waited ms | an event loop waited ms |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for row in result["rows"]:
        figures = 1e3 * row["seconds"], row["thread_ms"], row["loop_ms"]
        lines.append("| " + " | ".join([row["name"], *map(_figure, figures)]) + " |")
    return "\n".join(lines) + "\n"


def connection_table(result: dict[str, Any]) -> str:
    """Return the cost of a request for each kind of connection, compared with the first kind."""
    lines = ["| connection | wall ms | ÷ first | client's CPU ms | ÷ first |", "| --- | ---: | ---: | ---: | ---: |"]
    first = result["rows"][0]
    for row in result["rows"]:
        figures = [figure for name in ("wall_ms", "cpu_ms") for figure in (row[name], row[name] / first[name])]
        lines.append("| " + " | ".join([row["name"], *map(_figure, figures)]) + " |")
    return "\n".join(lines) + "\n"


def growth_table(result: dict[str, Any]) -> str:
    """Return memory, threads and files at ten times, evenly spread."""
    samples = result["samples"]
    chosen = [samples[round(step * (len(samples) - 1) / 9)] for step in range(10)]
    lines = [
        f"{result['accounts']:,} accounts, {result['polls_per_account']:.0f} polls of each.",
        "",
        "| s | " + " | ".join(f"{sample['s']:.0f}" for sample in chosen) + " |",
        "| --- |" + " ---: |" * len(chosen),
    ]
    for name, title in (("memory_mb", "RSS MB"), ("threads", "threads"), ("files", "open files")):
        lines.append(f"| {title} | " + " | ".join(_figure(sample[name]) for sample in chosen) + " |")
    return "\n".join(lines) + "\n"


def profile_table(result: dict[str, Any]) -> str:
    """Return the shares of the CPU time, the largest first."""
    lines = []
    for path, title in (
        ("scrape", f"A scrape of {result['accounts']:,} accounts with 1 % changed, by function"),
        ("poll", "A poll, by package or module"),
    ):
        parts = result[path]
        total = sum(parts.values())
        lines += [f"**{title}** ({_figure(total)} ms with the profiler's own cost)\n", "| | ms | share |"]
        lines.append("| --- | ---: | ---: |")
        calls = {name: f"{name}()" if re.fullmatch(r"\w+\.\w+", name) else name for name in parts}
        lines += [f"| `{calls[name]}` | {_figure(ms)} | {ms / total:.0%} |" for name, ms in parts.items()]
        lines.append("")
    return "\n".join(lines)


def page_table(result: dict[str, Any]) -> str:
    """Return the cost of the status page, and p50 and p99 of scrapes without and with constant reads of the page."""
    lines = [
        "| accounts | made ms | drawn ms | at worst ms | browser's CPU ms | kB | kB gzip | scrape ms | meanwhile ms |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in result["runs"]:
        figures = [run[name] for name in ("made", "drawn", "drawn_at_worst", "browser_cpu")]
        figures += [run["bytes"] / 1e3, run["gzip_bytes"] / 1e3]
        scrapes = [
            " / ".join(_figure(run[name][part]) for part in ("p50", "p99")) for name in ("scrape", "scrape_meanwhile")
        ]
        lines.append("| " + " | ".join([f"{run['accounts']:,}", *map(_figure, figures), *scrapes]) + " |")
    return "\n".join(lines)


def history_table(result: dict[str, Any]) -> str:
    """Return what a history takes on disk and in memory, and what the pages cost that show it."""
    lines = [
        "| accounts | MB on disk | kB for each | MB of memory | account's page, CPU ms | overview | without history |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in result["runs"]:
        size = run["state_bytes"]
        figures = [size / 1e6, size / 1e3 / run["accounts"], run["memory_bytes"] / 1e6]
        figures += [run[name] for name in ("account_page_ms", "overview_ms", "overview_without_history_ms")]
        lines.append("| " + " | ".join([f"{run['accounts']:,}", *map(_figure, figures)]) + " |")
    return "\n".join(lines)


def spending_table(result: dict[str, Any]) -> str:
    """Return what the command ``report`` costs."""
    lines = [f"| report on {result['accounts']:,} accounts | seconds of CPU | seconds |", "| --- | ---: | ---: |"]
    for name, title in (("month", "this month"), ("thirteen_months", "13 months")):
        lines.append(f"| {title} | {_figure(result[name]['cpu'])} | {_figure(result[name]['wall'])} |")
    return "\n".join(lines)


def write(page: Path, read: Callable[[str], dict[str, Any]]) -> None:
    """Write the kept figures into the page."""
    page.write_text(filled(page.read_text(), read))


def filled(text: str, read: Callable[[str], dict[str, Any]]) -> str:
    """Return the text of the page with the kept figures between each pair of markers.

    A figure that was never kept leaves the page as it is.
    """
    machine = read("scrape-1000")["machine"]
    versions = ", ".join(
        f"{name} {release}" for name, release in {**machine["packages"], **machine["programs"]}.items()
    )
    sections: dict[str, Callable[[], str]] = {
        "summary": lambda: summary_table(read),
        "machine": lambda: (
            f"The machine has {machine['cores']} cores of {machine['cpu']}, {machine['system']} and"
            f" Python {machine['python']}. The versions are {versions}. The time was {machine['time']}."
        ),
        "scrape": lambda: "\n".join(scrape_table(read(f"scrape-{count}")) for count in (1, 100, 1_000, 10_000)),
        "running": lambda: running_table(read("running")),
        "poll": lambda: poll_table(read("poll")["runs"]),
        "cost": lambda: cost_table(read("cost")),
        "declared": lambda: declared_table(read("declared")),
        "many": lambda: many_table(read("many")),
        "connections": lambda: connection_table(read("connections")),
        "start": lambda: start_table(read("start")),
        "pauses": lambda: pause_table(read("pauses")),
        "growth": lambda: growth_table(read("growth")),
        "profile": lambda: profile_table(read("profile")),
    }
    for name, make in sections.items():
        try:
            content = make()
        except FileNotFoundError:
            continue
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise RuntimeError(f"the page has no {begin.strip()} … {end}")
        text = f"{before}{begin}{content.rstrip()}\n{end}{after}"
    return text


def draw(results: Path, image: Path) -> None:
    """Draw the plot in the peers' environment, because it has matplotlib."""
    from bench.peers import environment

    image.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([environment(), Path(__file__).with_name("plot.py"), results, image], check=True)
