"""The studio: meshes, materials, lights, cameras, rendering in worker processes, and the sets they fill."""
