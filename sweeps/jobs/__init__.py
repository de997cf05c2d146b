"""Getting runs run: submission, workers, what has become of them."""
