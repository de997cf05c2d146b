"""The fit engine: laws over rows, objectives, minima, and draws of them."""
