"""Pictures of the dashboards without a Grafana server: `python -m grafana.preview`, or `make preview`."""
