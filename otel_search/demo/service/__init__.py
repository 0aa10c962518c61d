"""The parts of the product search service."""
