"""Sets of pictures from folders of meshes: finding, naming and reading the meshes, taking their pictures."""
