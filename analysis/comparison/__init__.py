"""How much of one recipe's compute another one needs."""
