"""Scored models side by side on one HTML page; knows their files and figures, nothing of Gaussians."""
