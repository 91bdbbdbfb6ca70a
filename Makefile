# `make demo` and `make test` do all the set-up they need; `make` alone lists the targets.
# INPUT=, TESTS=, ARGS= and PYTHON= are the user's; everything lives in .venv.

VENV := $(CURDIR)/.venv
TESTS ?= test
ARGS ?=
# Two processes: most tests compute on one core, or wait for processes of their own.
PYTEST = -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder
INPUT ?=
PYTHON ?=

# Started from another environment that has ROS from PyPI, its libraries would be used for this one.
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
endif

# With ROS from PyPI, .venv finds its own libraries. A ROS installation looks for them where its
# environment variables point.
ifdef AMENT_PREFIX_PATH
RUN := env AMENT_PREFIX_PATH="$(VENV):$$AMENT_PREFIX_PATH" \
	LD_LIBRARY_PATH="$(VENV)/lib:$$LD_LIBRARY_PATH" $(VENV)/bin/python
else
RUN := $(VENV)/bin/python
endif

.PHONY: help setup demo test test-quick bench lint docs format clean

help:
	@echo "make demo    run the node on the rendered clip and write demo_output/"
	@echo "             INPUT=photo.jpg, clip.mp4, /dev/video0 or a bag: run it on that instead"
	@echo "             ARGS='-p tracking.box:=x,y,width,height' and other options: see ARGS=--help"
	@echo "make test    run the tests; TESTS=test/unit/test_crop.py ARGS='-k name' for some of them"
	@echo "make test-quick  unit tests and golden results only"
	@echo "make bench   measure speed, compare with benchmarks/baseline.json; ARGS='--only render'"
	@echo "make lint    check style; make format repairs what it can"
	@echo "make docs    build the documentation into site/"
	@echo "make setup   only prepare .venv, which the others do by themselves"
	@echo "make clean   remove .venv and everything else that was generated"
	@echo "PYTHON=/path/to/python chooses the interpreter (3.10 to 3.14)"

setup:
	@PYTHON="$(PYTHON)" tools/setup

demo: setup
	@$(RUN) -m dhpe_ros.ros.demo $(if $(INPUT),"$(INPUT)") $(ARGS)

test: setup
	@$(RUN) $(PYTEST) $(TESTS) $(ARGS)

test-quick: setup
	@$(RUN) $(PYTEST) test/unit test/golden -m "not slow" $(ARGS)

bench: setup
	@$(RUN) benchmarks/run.py $(ARGS)

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

format: setup
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

clean:
	rm -rf .venv .setup.log .setup.lock build install log site demo_output
	find . -name __pycache__ -prune -exec rm -rf {} +
