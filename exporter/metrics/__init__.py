"""The metric families, the latest state of each account, and the page that Prometheus scrapes."""
