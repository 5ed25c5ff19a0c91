"""What the performance claims are measured with: each figure and its ratio to raw Ed25519 in the same run."""
