"""A page that shows the three servers side by side; `make demo` serves it."""
