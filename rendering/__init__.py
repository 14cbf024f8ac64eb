"""What render.py and mesh.py share: the trained model, its cameras, and the pictures made of a look at it."""
