"""Scan-like pictures: phantoms of solids in Hounsfield units, cut by a plane and seen by a scanner."""
