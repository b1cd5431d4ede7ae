"""In which of 8 directions does the digit move? Raw pixels of videos.

    python scripts/train.py --config=scripts/configs/moving_digits.py \
        --workdir=runs/moving_digits

4,000 clips of 8 x 32 x 32 to train and validate, 1,000 to test, made from MNIST-5k. No
frame alone tells the direction.
"""

from configs import video


def get_config():
    config = video.get_config()
    config.epochs = 32
    config.batch_size = 32
    config.data.source = "builtin:moving_digits"
    config.data.cache = True
    # Larger than the 27 channels of positions, among which a pixel has but one.
    config.data.recipe.value_range = (-4.0, 4.0)
    # The frames wrap around, so a shift that does is exact.
    config.data.augmentation.shift_pixels = 16
    config.data.augmentation.wrap = True
    # Up to 4 periods in each axis: digits are large, and motion shows in their slow
    # waves; 4 periods are the Nyquist rate of 8 frames.
    config.adapter.patch_size = None
    config.adapter.num_bands = 4
    config.adapter.max_resolution = (8, 8, 8)
    # Motion is a product of what is seen at two times. A latent with several heads
    # has both in one vector, where its MLP can multiply them.
    config.model.num_latents = 8
    config.model.num_cross_attends = 1
    config.model.num_latent_blocks = 1
    config.model.num_layers_per_block = 4
    config.model.num_cross_heads = 4
    config.model.cross_qk_dim = 32
    config.model.cross_widening_factor = 2
    config.model.self_widening_factor = 2
    return config
