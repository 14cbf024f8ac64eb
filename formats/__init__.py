"""Files of Gaussians: read and written as plain arrays, without torch, scenes or renderers."""
