"""What tests and bench drive the product with: a browser, noises, recordings, simulated calls."""
