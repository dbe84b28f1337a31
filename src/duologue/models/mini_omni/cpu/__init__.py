"""Mini-Omni on CPUs: OpenVINO graphs, built from numpy arrays, without torch."""
