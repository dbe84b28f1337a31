"""When somebody's turn begins, pauses, goes on and ends. Pure."""
