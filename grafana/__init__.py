"""Generates the Grafana dashboards. `python -m grafana` writes `grafana/dashboards/*.json`."""
