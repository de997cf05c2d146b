"""Pre-training objectives, one file each, behind one interface (see `hubert`)."""
