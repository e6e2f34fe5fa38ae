# Two commands do everything: `make train` and `make test`; `make docs` builds the pages into site/. Choose another place for the
# environment with VENV=..., another Python with PYTHON=..., and add or override settings with ARGS="scale=paper seed=1".
# The tests run in two processes; take more with WORKERS=8.
VENV ?= .venv
PYTHON ?= python3
PYTHON312 ?= python3.12
EXPERIMENT ?= mopo_ensemble5
ARGS ?=
WORKERS ?= 2
BIN = $(VENV)/bin

.PHONY: train test test-mjlab test-isaaclab test-lerobot compat lint docs install clean

train: install
	$(BIN)/python -m rwmu.train +experiment=$(EXPERIMENT) $(ARGS)

# A worker of pytest has one thread of torch's: two busy pools of threads on one core stand in each other's way.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# mjlab's own environment: it pins an older MuJoCo. The first time, its kernels are compiled.
test-mjlab: $(VENV)-mjlab/installed
	OMP_NUM_THREADS=1 $(VENV)-mjlab/bin/python -m pytest tests/simulators/test_contract.py tests/simulators/test_mjlab.py tests/simulators/test_mjlab_robots.py $(ARGS)

$(VENV)-mjlab/installed: pyproject.toml constraints-mjlab.txt
	$(PYTHON) -m venv $(VENV)-mjlab
	$(VENV)-mjlab/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-mjlab.txt -e '.[mjlab]' pytest pytest-xdist
	touch $@

# Isaac Lab's own environment, of Python 3.12 and 8 GB: its simulator keeps the contract, and a small loop goes through.
ISAACLAB_SMOKE = scale=smoke simulator=isaaclab task.episode_length_s=0.6 task.command_resample_s=0.3 data.num_transitions=1500 \
	data.path=$(VENV)-isaaclab/smoke.h5
test-isaaclab: $(VENV)-isaaclab/installed
	OMP_NUM_THREADS=1 $(VENV)-isaaclab/bin/python -m pytest -W ignore tests/simulators/test_contract.py tests/simulators/test_isaaclab.py \
		tests/simulators/test_isaaclab_terms.py -k isaaclab $(ARGS)
	rm -f $(VENV)-isaaclab/smoke.h5
	OMP_NUM_THREADS=1 $(VENV)-isaaclab/bin/python -m rwmu.collect $(ISAACLAB_SMOKE)
	OMP_NUM_THREADS=1 $(VENV)-isaaclab/bin/python -m rwmu.train +experiment=mopo_ensemble5 $(ISAACLAB_SMOKE) evaluation.num_envs=4 runs_dir=$(VENV)-isaaclab/runs

$(VENV)-isaaclab/installed: pyproject.toml constraints-isaaclab.txt
	$(PYTHON312) -m venv $(VENV)-isaaclab
	$(VENV)-isaaclab/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-isaaclab.txt -e '.[isaaclab]' pytest pytest-xdist
	touch $@

# LeRobot's own environment, of Python 3.12 and 6 GB: it reads what we write.
test-lerobot: $(VENV)-lerobot/installed
	OMP_NUM_THREADS=1 $(VENV)-lerobot/bin/python -m pytest -W ignore tests/data/formats $(ARGS)

$(VENV)-lerobot/installed: pyproject.toml
	$(PYTHON312) -m venv $(VENV)-lerobot
	$(VENV)-lerobot/bin/python -m pip install --quiet --disable-pip-version-check -e '.[formats]' 'lerobot[dataset]==0.6.1' pytest pytest-xdist
	touch $@

# The wheel beside old and new versions of what it needs; ARGS names rows (experiments/compat/README.md).
compat: $(VENV)-compat/installed
	PATH="$(abspath $(VENV)-compat/bin):$$PATH" $(VENV)-compat/bin/python -m experiments.compat $(ARGS)

$(VENV)-compat/installed:
	$(PYTHON) -m venv $(VENV)-compat
	$(VENV)-compat/bin/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict rwmu

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

install: $(VENV)/installed

# One pip call with the constraints, so that torch is taken in the pinned build and never twice.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mujoco,formats,onnx,dev]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# Collected data and finished runs are results, not rubbish: they stay.
clean:
	rm -rf $(VENV) $(VENV)-mjlab $(VENV)-isaaclab $(VENV)-lerobot $(VENV)-compat build dist site .pytest_cache .mypy_cache .ruff_cache
	find rwmu tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +
