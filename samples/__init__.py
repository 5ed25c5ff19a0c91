"""Real sample access logs, and the demo that takes them the whole way."""
