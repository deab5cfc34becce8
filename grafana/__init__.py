"""Grafana dashboards, generated: `python -m grafana` writes `grafana/dashboards/*.json`."""
