"""The three approaches to N*(C): envelope, isoFLOP minima, and a law with its optimum."""
