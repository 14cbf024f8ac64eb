"""Flags of the reference's train.py that ours does not have."""

REFUSED = {
    "--train_test_exp": "exposure compensation is not there yet",
    "--exposure_lr_init": "exposure compensation is not there yet",
    "--exposure_lr_final": "exposure compensation is not there yet",
    "--exposure_lr_delay_steps": "exposure compensation is not there yet",
    "--exposure_lr_delay_mult": "exposure compensation is not there yet",
    "--depths": "depth supervision is not there yet",
    "-d": "depth supervision is not there yet",
    "--depth_l1_weight_init": "depth supervision is not there yet",
    "--depth_l1_weight_final": "depth supervision is not there yet",
    "--optimizer_type": "there is one optimiser, Adam, fused",
    "--data_device": "photographs are kept as bytes in main memory; --image_memory sets how much of it",
    "--position_lr_delay_mult": "it has no effect in the reference; leave it out",
    "--convert_SHs_python": "both engines evaluate spherical harmonics themselves",
    "--compute_cov3D_python": "both engines compute covariances themselves",
    "--debug": "use --detect_anomaly",
    "--debug_from": "use --detect_anomaly",
    "--ip": "there is no remote viewer yet",
    "--port": "there is no remote viewer yet",
    "--disable_viewer": "there is no remote viewer to disable; leave it out",
    "--start_checkpoint": "use --resume to continue a run, or --init_ply to start from a model",
}
"""Flags of the reference that train.py does not honour, and what to do instead."""
