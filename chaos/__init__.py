"""Chaos test: sends malformed requests, disconnects and injects faults, and checks every response."""
