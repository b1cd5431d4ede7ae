"""Writes labelled data to TFRecord files, from which it is read faster and anywhere.

    python scripts/write_records.py --source=folder:PATH --modality=image --output=DIR

DIR receives `NAME-train-00000-of-00016.tfrecord`, ..., and `records.json` with the
classes, counts and checksums; `--source=tfrecord:DIR` reads them. The data is divided
into train, validation and test parts as in training; with `--split=all`, data without
parts of its own stays undivided, and each training divides it.

    python scripts/write_records.py --verify --output=DIR

checks the SHA-256 of each file.
"""

from command_line import Parser, run
from pipelines.sources import SPLITS, load_own_splits, load_source
from pipelines.sources.modalities import MODALITIES
from pipelines.sources.record_index import WHOLE
from pipelines.sources.record_writer import check_empty, verify_records, write_records


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", metavar="SPEC")
    parser.add_argument("--modality", choices=sorted(MODALITIES))
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--shards", type=int, default=16, help="files of each split")
    parser.add_argument(
        "--split", nargs="+", default=list(SPLITS), choices=[*SPLITS, WHOLE]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation_fraction", type=float, default=0.1)
    parser.add_argument("--test_fraction", type=float, default=0.2)
    parser.add_argument("--name", help="of the files; DIR's name by default")
    parser.add_argument("--verify", action="store_true", help="check what is there")
    flags = parser.parse_args(arguments)

    if flags.verify:
        count = verify_records(flags.output)
        print(f"All {count} files of {flags.output} are as they were written.")
        return 0
    for flag in ("source", "modality"):
        if getattr(flags, flag) is None:
            parser.error(f"`--{flag}` must be given. Received: no --{flag}")
    if WHOLE in flags.split and len(flags.split) > 1:
        parser.error(f"`--split=all` must stand alone. Received: --split {flags.split}")
    check_empty(flags.output)
    index = write_records(
        {split: _load(flags, split) for split in flags.split},
        flags.output,
        modality=flags.modality,
        num_shards=flags.shards,
        name=flags.name,
    )
    counts = ", ".join(f"{n:,} {split}" for split, n in index["splits"].items())
    size = sum(shard["bytes"] for shard in index["shards"]) / 1e6
    print(
        f"Wrote {counts} items of {len(index['classes'])} classes to "
        f"{len(index['shards'])} files, {size:,.1f} MB: {flags.output}"
    )
    return 0


def _load(flags, split):
    if split == WHOLE:
        return _load_whole(flags)
    return load_source(
        flags.source,
        split,
        modality=flags.modality,
        seed=flags.seed,
        validation_fraction=flags.validation_fraction,
        test_fraction=flags.test_fraction,
    )


def _load_whole(flags):
    own = load_own_splits(flags.source, modality=flags.modality)
    if len(own) > 1:
        raise ValueError(
            "`--split=all` is for data without parts of its own. "
            f"Received: --source={flags.source} with {', '.join(own)}"
        )
    return own["train"]


if __name__ == "__main__":
    run(main)
