"""What is in the world: cameras, photographs, readers, Gaussians, densification, camera paths."""
