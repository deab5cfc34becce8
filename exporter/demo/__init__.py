"""Simulated vendors on loopback, for the demo, the tests and the benchmarks.

`vendors` serves both APIs, `faults` makes them misbehave, `world` gives the demo's accounts a life.
"""
