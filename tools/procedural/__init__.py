"""Procedural objects: parametric families, colours and materials, captions, splits, and their pictures."""
