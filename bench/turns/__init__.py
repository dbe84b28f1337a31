"""Turn taking measured on recordings, in simulated time."""
