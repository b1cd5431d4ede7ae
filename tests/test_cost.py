import pytest

from keras_perceiver.cost import choose_method, multiplications

IMAGENET = {
    "num_queries": 512,
    "num_inputs": 50176,
    "channels": 261,
    "content_channels": 3,
    "heads": 1,
    "qk_dim": 261,
    "v_dim": 261,
}


@pytest.mark.parametrize(
    "changes, has_grid, method",
    [
        ({}, True, "grid"),  # Perceiver ImageNet.
        ({"num_inputs": None}, True, "grid"),  # Images of any size.
        ({}, False, "dense"),  # The same as a dense array, 1 head.
        ({"heads": 2}, False, "projected"),
        ({"heads": 8}, True, "grid"),
        ({"heads": 64}, True, "projected"),
        # A class query reads 512 latents of 1,024: no keys for one query.
        (
            {
                "num_queries": 1,
                "num_inputs": 512,
                "channels": 1024,
                "content_channels": 1024,
                "qk_dim": 1024,
                "v_dim": 1024,
            },
            False,
            "dense",
        ),
        # Bytes of text: 2,048 inputs of 768, 256 latents, 8 heads of 32.
        (
            {
                "num_queries": 256,
                "num_inputs": 2048,
                "channels": 768,
                "content_channels": 768,
                "heads": 8,
                "qk_dim": 256,
                "v_dim": 1280,
            },
            False,
            "projected",
        ),
    ],
)
def test_choice(changes, has_grid, method):
    assert choose_method(**{**IMAGENET, **changes}, has_grid=has_grid) == method


def test_counts():
    assert multiplications("projected", **IMAGENET) == 50176 * 522 * (261 + 512)
    assert multiplications("dense", **IMAGENET) == (
        2 * 512 * 50176 * 261 + 512 * 261 * 522
    )
    assert multiplications("grid", **IMAGENET) == 2 * 512 * 50176 * 11 + 512 * 261 * 522
    with pytest.raises(ValueError, match="`method` must be one of"):
        multiplications("best", **IMAGENET)
