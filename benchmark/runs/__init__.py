"""What a run is: its plan, its cells, and the files that keep them."""
