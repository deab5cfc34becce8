"""Simulated vendors on loopback, for the demo, the tests and the benchmarks.

`vendors` serves both APIs, `faults` makes them fail, and `world` has the demo's accounts.
"""
