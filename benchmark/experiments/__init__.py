"""One experiment a file; `benchmark/commands` has its command."""
