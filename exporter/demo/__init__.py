"""Simulated vendors on loopback, for the demo, the tests and the benchmarks.

`vendors` serves their APIs, `faults` makes them fail, `world` has the demo's accounts, and `past` their history.
"""
