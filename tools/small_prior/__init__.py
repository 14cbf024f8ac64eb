"""The project's own small prior: tokeniser, CLIP, VAE and U-Net from captioned pictures, and what it can do.

`python -m tools.small_prior build --data FOLDER --output FOLDER` trains and measures everything; stopped, the
same command goes on. `... evaluate` measures a model that is there.
"""
