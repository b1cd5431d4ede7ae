import pytest

from keras_perceiver.cost import Part, choose_method, multiplications

IMAGENET = {
    "num_queries": 512,
    "parts": [Part(50176, 261, 3)],
    "channels": 261,
    "heads": 1,
    "qk_dim": 261,
    "v_dim": 261,
}


@pytest.mark.parametrize(
    "changes, method",
    [
        ({}, "grid"),  # Perceiver ImageNet.
        ({"parts": [Part(None, 261, 3)]}, "grid"),  # Images of any size.
        ({"parts": [Part(50176, 261)]}, "dense"),  # The same as a dense array.
        ({"parts": [Part(50176, 261)], "heads": 2}, "projected"),
        ({"heads": 8}, "grid"),
        ({"heads": 64}, "projected"),
        # A table beside the image; the image beside a large dense array.
        ({"parts": [Part(50176, 261, 3), Part(10, 261)], "heads": 8}, "grid"),
        ({"parts": [Part(100, 261, 3), Part(50176, 261)], "heads": 8}, "projected"),
        # A class query reads 512 latents of 1,024: no keys for one query.
        (
            {
                "num_queries": 1,
                "parts": [Part(512, 1024)],
                "channels": 1024,
                "qk_dim": 1024,
                "v_dim": 1024,
            },
            "dense",
        ),
        # Bytes of text: 2,048 inputs of 768, 256 latents, 8 heads of 32.
        (
            {
                "num_queries": 256,
                "parts": [Part(2048, 768)],
                "channels": 768,
                "heads": 8,
                "qk_dim": 256,
                "v_dim": 1280,
            },
            "projected",
        ),
    ],
)
def test_choice(changes, method):
    assert choose_method(**{**IMAGENET, **changes}) == method


def test_counts():
    assert multiplications("projected", **IMAGENET) == 50176 * 522 * (261 + 512)
    assert multiplications("dense", **IMAGENET) == (
        2 * 512 * 50176 * 261 + 512 * 261 * 522
    )
    assert multiplications("grid", **IMAGENET) == 2 * 512 * 50176 * 11 + 512 * 261 * 522
    # Fewer channels of content on the grid, all of them where there is none.
    two = {**IMAGENET, "parts": [Part(50176, 261, 3), Part(10, 250)]}
    assert multiplications("grid", **two) == (
        2 * 512 * (50176 * 11 + 10 * 250) + 512 * 261 * 522
    )
    assert multiplications("dense", **two) == (2 * 512 * 50186 * 261 + 512 * 261 * 522)
    with pytest.raises(ValueError, match="`method` must be one of"):
        multiplications("best", **IMAGENET)
