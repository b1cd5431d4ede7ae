# Each target does its own set-up, in a virtual environment.

PYTHON ?= python3
VENV ?= .venv
INSTALLED = $(VENV)/.installed

.PHONY: demo docs docs-check results test test-backends test-large

$(INSTALLED): setup.cfg pyproject.toml keras_perceiver/version.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[scripts,test]'
	touch $@

# Trains on handwritten digits and reports into runs/digits.
demo: $(INSTALLED)
	$(VENV)/bin/python scripts/train.py --config=scripts/configs/digits.py \
		--workdir=runs/digits

# Trains what the README's table tells of, and rewrites it; TASKS="digits solids" only
# those. Finished runs in runs/results are kept, an interrupted one resumes.
results: $(INSTALLED)
	$(VENV)/bin/python scripts/results.py $(if $(TASKS),--tasks $(TASKS))

test: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest -n auto --dist loadfile \
		--no-loadscope-reorder

# What takes minutes: raw video in bounded memory, a run killed at random moments.
test-large: $(INSTALLED)
	XLA_FLAGS= $(VENV)/bin/python -m pytest -m large --timeout=3600

# The layers and models on the other backends of Keras. PyTorch comes without CUDA
# where its own index can be reached.
BACKENDS_VENV ?= .venv-backends
BACKENDS_INSTALLED = $(BACKENDS_VENV)/.installed
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BACKENDS_TESTS = $(addprefix tests/test_,positions.py dropout.py byte_array.py \
	streaming.py sums.py methods.py blocks.py encoder.py cost.py golden.py)

$(BACKENDS_INSTALLED): setup.cfg pyproject.toml keras_perceiver/version.py
	$(PYTHON) -m venv $(BACKENDS_VENV)
	$(BACKENDS_VENV)/bin/python -m pip install --quiet torch \
		--index-url $(TORCH_INDEX) --retries 0 || true
	$(BACKENDS_VENV)/bin/python -m pip install --quiet --editable '.[backends,test]'
	touch $@

# JAX compiles each test anew, unless it finds what an earlier run has compiled.
test-backends: $(BACKENDS_INSTALLED)
	for backend in numpy torch jax; do \
		echo "== $$backend"; \
		KERAS_BACKEND=$$backend TF_CPP_MIN_LOG_LEVEL=2 \
		JAX_COMPILATION_CACHE_DIR=$(abspath $(BACKENDS_VENV))/compiled \
		JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
		$(BACKENDS_VENV)/bin/python -m pytest $(BACKENDS_TESTS) || exit; \
	done

# The pages of docs/ and the reference, as a site in docs/_build/html; warnings are
# errors.
DOCS_INSTALLED = $(VENV)/.docs-installed

$(DOCS_INSTALLED): $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

docs: $(DOCS_INSTALLED)
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --fresh-env \
		docs docs/_build/html

# Runs the commands of the README and of docs/, on small made data: some minutes.
docs-check: $(INSTALLED)
	$(VENV)/bin/python -m pytest -m docs --timeout=3600
