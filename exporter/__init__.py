"""Prometheus exporter for the accounts a company has with hosted video-AI APIs."""

__version__ = "0.1.0"
