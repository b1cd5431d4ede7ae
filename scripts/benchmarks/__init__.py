"""What `scripts/benchmark.py` measures, and what its subcommands share.

`contestants` says what can be run and whether all compute one function, `measuring`
times them in turns, `memory` tells what they hold, `report` says and writes it, and
`arguments` has the flags; `torch_layers` and `hugging_face` know other packages, and
are imported where these are installed. A subcommand is a folder: what it runs, its
report, its command.
"""
