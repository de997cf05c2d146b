"""Which runs, and getting them run."""
