"""The report: everything that a fit says on one HTML page that needs no network."""
