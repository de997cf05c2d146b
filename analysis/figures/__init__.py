"""The figures of a scaling-law paper: functions that draw on given Axes, and one that saves."""
