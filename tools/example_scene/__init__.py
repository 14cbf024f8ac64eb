"""The example scene: textures, meshes, the still life made of them, its pictures and its point cloud."""
