"""JPEG tiles as they lie in a slide's files: copied, checked, decoded at a fraction."""
