"""Tables of runs: read, cleaned, and what a run was given and cost."""
