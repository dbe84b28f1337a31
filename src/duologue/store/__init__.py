"""Where conversations and the figures of turns are kept."""
