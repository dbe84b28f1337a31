"""The shell around a dialogue: tasks, clock, line."""
