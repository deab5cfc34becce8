"""Requests to vendors, with a deadline on every socket call."""
