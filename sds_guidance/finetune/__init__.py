"""Fine-tuning a Stable-Diffusion-shaped model to a domain, or training one from scratch.

From the command line: `python -m sds_guidance.finetune --help`. From Python, `program.finetune(options)` is
the same; with latents and text states at hand, `trainer.fit(denoising.Denoising(...), ...)` is the loop.
A model whose U-Net was just made from a configuration and saved (`save_pretrained`) is trained from scratch.
"""
