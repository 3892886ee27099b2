"""Protocols that have clients of their own, each translated to the engine's two calls."""
