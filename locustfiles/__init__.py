"""Load generation: what is sent (inputs) and when it is sent (closed and open loop)."""
