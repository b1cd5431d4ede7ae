# Each target does its own set-up, in a virtual environment.

PYTHON ?= python3
VENV ?= .venv
INSTALLED = $(VENV)/.installed

.PHONY: demo test

$(INSTALLED): setup.cfg pyproject.toml keras_perceiver/version.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[scripts,test]'
	touch $@

# Trains on handwritten digits and reports into runs/digits.
demo: $(INSTALLED)
	$(VENV)/bin/python scripts/train.py --config=scripts/configs/digits.py \
		--workdir=runs/digits

test: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest
