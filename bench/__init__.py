"""What the README's figures are reproduced with: `make bench`."""
