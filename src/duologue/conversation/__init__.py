"""What is said, and what is decided about it: items, responses, the floor, the dialogue. Pure."""
