"""Video without patches: every pixel of every frame is an input of its own.

    python scripts/train.py --config=scripts/configs/video_raw.py \
        --workdir=runs/video_raw --config.data.source=folder:PATH

Clips of 16 frames of 64 x 64 pixels are 65,536 inputs, which would be 256 in patches
of 4 x 8 x 8. Their positions are read as tables of the three axes, so that no array of
that many rows and all channels is ever made.
"""

from configs import video


def get_config():
    config = video.get_config()
    config.batch_size = 16
    config.data.recipe.num_frames = 16
    config.data.recipe.image_size = (64, 64)
    config.adapter.patch_size = None
    # One cross-attend, as the AudioSet models of Perceiver IO have, with several heads
    # that read different parts of the clip.
    config.model.num_latents = 16
    config.model.num_cross_attends = 1
    config.model.num_latent_blocks = 1
    config.model.num_layers_per_block = 4
    config.model.num_cross_heads = 2
    config.model.cross_qk_dim = 32
    config.model.method = "grid"
    return config
