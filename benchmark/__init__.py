"""Measures the servers over HTTP, keeps every request, and draws charts from the kept files."""
