"""Load generation: texts (grammar, inputs) and when they are sent (closed and open loop)."""
