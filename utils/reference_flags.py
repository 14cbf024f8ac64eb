"""Flags of the reference's train.py that ours does not have."""

REFUSED = {
    "--optimizer_type": "there is one optimiser, Adam, fused",
    "--data_device": "photographs are kept as bytes in main memory; --image_memory sets how much of it",
    "--position_lr_delay_mult": "it has no effect in the reference; leave it out",
    "--convert_SHs_python": "both engines evaluate spherical harmonics themselves",
    "--compute_cov3D_python": "both engines compute covariances themselves",
    "--debug": "use --detect_anomaly",
    "--debug_from": "use --detect_anomaly",
    "--start_checkpoint": "use --resume to continue a run, or --init_ply to start from a model",
}
"""Flags of the reference that train.py does not honour, and what to do instead."""
