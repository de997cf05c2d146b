"""Corpora: made by a synthesiser or imported from files, one store for both."""
