"""What a frozen encoder is good for: light heads on a weighted sum of its layers, as in SUPERB; label-free measures.

`catalogue` names the probes, without torch; `run` does them.
"""
