"""Draws the dashboards without a Grafana server. Run `python -m grafana.preview`, or `make preview`."""
