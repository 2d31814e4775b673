# Both main targets, demo and test, run on a fresh machine with Python 3.11+ and make.
# demo-pretrain also runs the pre-training on macro-expressions.

PYTHON ?= python3
RUN := .venv/bin/python
READY := .venv/ready
TOOLS := .venv/tools
# Versions and hashes come from a lock file alone, also for the packages that build others.
INSTALL := $(RUN) -m pip install --quiet --no-build-isolation
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --upgrade --custom-compile-command 'make lock'
DEMO := demo
DEMO_DATABASES := casme2 samm smic
DEMO_MACRO := ck_plus oulu_casia jaffe mug
DEMO_CONFIG := --config=configs/demo.py --config.data.dir=$(DEMO)/data

.PHONY: demo demo-data demo-pretrain docs notebooks test suite quick lint style types clean-demo lock \
  test-matrix test-oldest test-newest

# Full pipeline on a synthetic composite: raw databases, prepared data, CDE and HDE tables.
# If the target is interrupted, rerun it: it resumes.
demo: demo-data
	$(RUN) -m atnet_jax.main $(DEMO_CONFIG) --workdir=$(DEMO)/cde
	$(RUN) -m atnet_jax.main $(DEMO_CONFIG) --config.protocol=hde --workdir=$(DEMO)/hde

$(DEMO)/raw/written: | $(READY)
	rm -rf $(DEMO)/raw
	$(RUN) -m atnet_jax synthetic --out=$(DEMO)/raw --subjects=3 --clips=8
	touch $@

demo-data: $(READY) $(DEMO)/raw/written
	for name in $(DEMO_DATABASES); do \
	  $(RUN) -m atnet_jax prepare --dataset=$$name --manual_dir=$(DEMO)/raw/$$name \
	    --data_dir=$(DEMO)/data || exit 1; \
	done

# Small version of the paper's pre-training: the spatial stream is trained on macro-expressions, and
# CDE starts from its weights. Compare with the CDE table of demo, which starts from random weights.
demo-pretrain: demo-data $(DEMO)/macro/written
	for name in $(DEMO_MACRO); do \
	  $(RUN) -m atnet_jax prepare --dataset=$$name --manual_dir=$(DEMO)/macro/$$name \
	    --data_dir=$(DEMO)/data || exit 1; \
	done
	$(RUN) -m atnet_jax.main --config=configs/pretrain.py --config.data.dir=$(DEMO)/data \
	  --config.data.image_size=56 --config.recipe.num_epochs=8 --workdir=$(DEMO)/pretrain
	$(RUN) -m atnet_jax.main $(DEMO_CONFIG) --config.init_from=$(DEMO)/pretrain/weights \
	  --workdir=$(DEMO)/cde_pretrained

$(DEMO)/macro/written: | $(READY)
	rm -rf $(DEMO)/macro
	$(RUN) -m atnet_jax synthetic --out=$(DEMO)/macro --datasets=ck_plus,oulu_casia,jaffe,mug \
	  --subjects=6 --clips=6
	touch $@

clean-demo:
	rm -rf $(DEMO)

# The documentation site; a warning is an error. Open build/docs/index.html.
docs: $(TOOLS)
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Site: build/docs/index.html"

# Executes the notebooks again and stores their outputs.
notebooks: $(TOOLS)
	$(RUN) docs/run_notebooks.py

# The type checker needs one core for a minute; the tests use the others meanwhile.
test: style
	$(MAKE) --jobs=2 types suite

suite: $(TOOLS)
	$(RUN) -m pytest

# For daily use: no type checker, and no test file that takes long.
quick: style
	$(RUN) -m pytest --quick

lint: style types

style: $(TOOLS)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: $(TOOLS)
	.venv/bin/basedpyright

# Today's versions for the lock files, within the ranges of requirements.txt and pyproject.toml. The
# packages of run.txt get the versions that they have in dev.txt.
lock: $(TOOLS)
	$(LOCK) --group install --output-file locks/install.txt
	$(LOCK) pyproject.toml --extra dev --output-file locks/dev.txt
	$(LOCK) pyproject.toml --constraint locks/dev.txt --output-file locks/run.txt
	$(MAKE) test

# The tests with the oldest and with the newest versions that the ranges allow, each in a fresh clone of
# the last commit. Finds the interpreters on PATH and in ~/.pyenv.
test-matrix: test-oldest test-newest

test-oldest: VERSIONS := 3.11 lowest-direct
test-newest: VERSIONS := 3.13 highest
test-oldest test-newest: export PATH := $(PATH):$(subst $() ,:,$(wildcard $(HOME)/.pyenv/versions/*/bin))
test-oldest test-newest: $(TOOLS)
	rm -rf build/$@
	git clone --quiet . build/$@
	.venv/bin/uv venv --quiet --no-python-downloads --python $(word 1,$(VERSIONS)) build/$@/.venv
	cd build/$@ && ../../.venv/bin/uv pip install --quiet --resolution $(word 2,$(VERSIONS)) \
	  --editable '.[dev]'
	cd build/$@ && ../../.venv/bin/uv pip list
	cd build/$@ && .venv/bin/python -m pytest

$(READY): locks/install.txt locks/run.txt requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is required. Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing the packages of locks/run.txt into .venv. This takes a few minutes."
	$(INSTALL) --require-hashes --requirement locks/install.txt
	$(INSTALL) --require-hashes --requirement locks/run.txt
	$(INSTALL) --no-deps --editable .
	touch $@

# The tools of the tests and the documentation, which the demo does not need.
$(TOOLS): $(READY) locks/dev.txt
	$(INSTALL) --require-hashes --requirement locks/dev.txt
	touch $@
