"""A health report of a dataset before hours are spent on it: photographs, cameras and points; no training."""
