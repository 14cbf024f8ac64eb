"""What is in the world: cameras, photographs, readers, Gaussians, densification, camera paths."""

# Before pycolmap: where its own copy of zlib is the first to be loaded, Pillow crashes on writing a PNG.
import zlib  # noqa: F401
