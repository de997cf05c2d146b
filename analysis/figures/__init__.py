"""The figures of a scaling-law paper: functions that draw on given axes, one file each, and one that saves them all.

`plot_*` functions take `ax=None` and return the axes; `draw_all` is what `scaling-fit --figures` does.
"""
