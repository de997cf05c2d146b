"""What speaks for and against a fit: which law, which interval, biases, influence, residuals, checklist."""
