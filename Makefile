# make demo   the whole chain on real input, to a report page (some ten minutes on two cores)
# make demo-two  two codes, trained on both and on each, tested on both, in one report (about as long)
# make check  lint, types and the tests that take neither minutes nor a cluster (a few minutes on two cores)
# make test   lint, types and every test; as root on Debian it installs Slurm and Chromium for them
# make mutants what the tests would not miss in a module, MUTATED='hpc_massmap.metrics.power.*' (minutes each)
# make paper-small  every model of the paper on a mock universe, to one report (about a quarter of an hour on two cores)
# make bench  measure what is claimed about speed, each against a baseline (about three quarters of an hour)
# make docs   the documentation as a site, in build/docs (about half a minute)
# make clean  forget the demo run

PYTHON ?= python3
BIN := .venv/bin
# keep the numerical libraries of each process to the threads it is given
export OMP_NUM_THREADS ?= 1
# mpirun refuses root and more ranks than it counts cores, unless told
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
MPIRUN := $(BIN)/mpirun --oversubscribe
DEMO := configs/demo.yaml
TWO := configs/demo_two

.PHONY: demo demo-two lint check test mutants paper-small bench docs clean

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 2; }
	@echo "installing into .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@

demo: .venv/installed
	@$(MPIRUN) -n 2 $(BIN)/python jobs/make_maps.py $(DEMO) --consolidate
	@$(BIN)/python jobs/tune.py $(DEMO)
	@$(BIN)/python jobs/train.py $(DEMO)
	@$(BIN)/python jobs/predict.py $(DEMO)
	@$(MPIRUN) -n 2 $(BIN)/python jobs/evaluate.py $(DEMO)
	@$(BIN)/python jobs/report.py $(DEMO)

demo-two: .venv/installed
	@$(MPIRUN) -n 2 $(BIN)/python jobs/make_maps.py $(TWO).yaml --consolidate
	@for model in $(TWO) $(TWO)_gadget4 $(TWO)_gizmo; do \
		$(BIN)/python jobs/train.py $$model.yaml && \
		$(BIN)/python jobs/predict.py $$model.yaml && \
		$(MPIRUN) -n 2 $(BIN)/python jobs/evaluate.py $$model.yaml || exit $$?; \
	done
	@$(BIN)/python jobs/report.py $(TWO).yaml --with $(TWO)_gadget4.yaml $(TWO)_gizmo.yaml

lint: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

check: lint
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not slow and not cluster" -q

test: lint
	@tests/install.sh
	@$(BIN)/pytest -n 2 --dist loadgroup --durations=25 --cov --cov-report= --junit-xml=build/junit.xml
	@echo "coverage: $$($(BIN)/coverage report --format=total) % of the lines, by the tests' own processes alone"

MUTATED ?= hpc_massmap.tune.pruning.*
mutants: .venv/installed
	@$(BIN)/mutmut run '$(MUTATED)'
	@$(BIN)/mutmut results

paper-small: .venv/installed
	@$(BIN)/python jobs/mock.py configs/mock.yaml
	@$(BIN)/python jobs/paper.py configs/mock.yaml

bench: .venv/installed
	@$(BIN)/python -m benchmarks.maps_at_scale
	@$(BIN)/python -m benchmarks.loader
	@$(BIN)/python -m benchmarks.trials_database
	@$(BIN)/python -m benchmarks.idle
	@$(BIN)/python -m benchmarks.suggestions
	@$(BIN)/python -m benchmarks.pruning
	@$(BIN)/python -m benchmarks.training
	@$(BIN)/python -m benchmarks.scaling
	@$(BIN)/python -m benchmarks.metrics
	@$(BIN)/python -m benchmarks.monitors
	@$(BIN)/python -m benchmarks.startup

docs: .venv/installed
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
	@echo "the documentation: build/docs/index.html"

clean:
	rm -rf runs/demo runs/demo_two runs/demo_two_gadget4 runs/demo_two_gizmo
