"""Starts servers, loads them, samples them, and checks every answer."""
