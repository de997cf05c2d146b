"""What a machine, its SLURM and its file systems are like, and what of it to change."""
