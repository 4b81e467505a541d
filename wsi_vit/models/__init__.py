"""One protocol, many models."""
