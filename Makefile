# Targets for users and developers; `make help` lists them. Each target installs what it needs and
# works from a fresh checkout. The scripts in tools/ do the work, one purpose each.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One after another, unless a recipe asks for what can be made at once.
ifndef at_once
.NOTPARALLEL:
endif
MAKEFLAGS += --no-print-directory

# The targets behave the same on every machine: R uses this Python and backend whatever the user's
# settings, TensorFlow rounds alike on all processors (and does not warn about it), and everything
# uses one locale.
export RETICULATE_PYTHON := $(CURDIR)/.venv/bin/python
export R_PROFILE_USER := /dev/null
export KERAS_BACKEND := tensorflow
export TF_ENABLE_ONEDNN_OPTS := 0
export TF_CPP_MIN_LOG_LEVEL := 2
export LC_ALL := C.UTF-8
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help demo test bench check docs figures site dist lint install clean distclean \
  test-tensorflow test-jax test-torch test-r test-keras3 test-versions test-long test-dist \
  test-site check-package check-docs needs-run needs-test needs-dist needs-check needs-site \
  needs-browser .venv .venv-jax .venv-torch .venv-oldest .venv-newest .venv-dist .venv-site

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install ## train a classifier on iris from R and draw its training curve
	@mkdir -p build/demo
	@cd build/demo && Rscript -e 'options(kerasgd.demo.picture = "iris-training.png"); source("../../demo/iris.R")'
	@printf '\nFor your own scripts, start R with this Python: RETICULATE_PYTHON=%s R\n' '$(RETICULATE_PYTHON)'

test: needs-test ## run every test: Python on three backends, and R
	@$(MAKE) --jobs at_once=yes install .venv-jax .venv-torch
	@tools/test.sh tensorflow jax torch r

test-versions: needs-test ## test with the oldest and the newest Keras, and with a newer reticulate
	@$(MAKE) --jobs at_once=yes install .venv-jax .venv-torch .venv-oldest .venv-newest
	@tools/test.sh oldest-keras newest-keras new-reticulate

test-long: needs-test .venv .venv-jax .venv-torch ## run the tests that take minutes, and Keras' own tests
	@tools/test.sh long-tensorflow long-jax long-torch keras-tensorflow keras-jax keras-torch

test-tensorflow: needs-test .venv ## run the Python tests on TensorFlow
	@tools/test-python.sh .venv tensorflow $(ARGS)

test-jax: needs-test .venv-jax ## run the Python tests on JAX
	@tools/test-python.sh .venv-jax jax $(ARGS)

test-torch: needs-test .venv-torch ## run the Python tests on PyTorch
	@tools/test-python.sh .venv-torch torch $(ARGS)

test-r: needs-test install ## run the R tests on the installed package
	@Rscript tools/test-r.R $(ARGS)

test-keras3: needs-test install .venv-jax .venv-torch ## test with the R package keras3, where it is installed
	@Rscript tools/test-keras3.R $(ARGS)

bench: needs-test install .venv-jax .venv-torch ## compare the speed of an update with Keras and other optimizers: about 25 minutes
	@tools/bench.sh $(ARGS)

check: needs-check ## run lint and test-dist, compare man/ with its sources, and run R CMD check --as-cran
	@$(MAKE) --keep-going lint check-docs check-package test-dist

check-package: needs-check dist
	@tools/check-package.sh

check-docs: needs-check
	@tools/check-docs.sh

dist: needs-dist .venv .venv-dist ## build the wheel, the sdist and the R package's archive in build/dist
	@tools/dist.sh

test-dist: dist ## build them, install each into an empty environment and train a model
	@tools/test-dist.sh

docs: needs-check ## write man/ and NAMESPACE with roxygen2
	@Rscript -e 'roxygen2::roxygenise()'

lint: needs-check .venv ## run ruff, mypy --strict, import-linter, lintr and shellcheck
	@tools/lint.sh

site: needs-site install ## build the website of the R package in build/site
	@Rscript tools/site.R

test-site: needs-browser site .venv-site ## build the website and test each page in a browser
	@tools/test-site.sh

figures: install ## draw the figure of README.md
	@Rscript tools/figures.R

install: needs-run .venv ## install the R package into R's first writable library
	@tools/install-package.sh

# The Python environments. Each script returns at once if there is nothing to do, so these targets
# are phony: the scripts compare the content of the files that name versions, not their dates.
tested := --constraint tools/tested-versions.txt
oldest := --constraint tools/oldest-versions.txt

.venv: needs-run
	@numpy=$$(tools/numpy-for-reticulate.sh); \
	  tools/environment.sh .venv $(tested) --editable '.[tensorflow,test,lint]' $$numpy

.venv-jax: needs-test
	@tools/environment.sh .venv-jax $(tested) --editable '.[jax,test]'

.venv-torch: needs-test
	@tools/environment.sh .venv-torch $(tested) --editable '.[torch,test]'

.venv-oldest: needs-test
	@tools/environment.sh .venv-oldest $(oldest) --editable '.[tensorflow,test]'

# Keras' nightly build, with the newest Python on this machine, and on JAX, which is the smallest to
# install. Recreated each day. It does not contain the project, which would install a released
# Keras.
.venv-newest: needs-test
	@PYTHON=$$(tools/find-newest-python.sh) MADE_ON=$$(date +%F) \
	  tools/environment.sh .venv-newest keras-nightly jax 'pytest>=8' 'hypothesis>=6'

# Has the tools that build wheels, so that `make dist` needs no network.
.venv-dist: needs-run
	@tools/environment.sh .venv-dist 'build>=1' 'setuptools>=77'

# Has selenium, which drives the browser.
.venv-site: needs-run
	@tools/environment.sh .venv-site 'pytest>=8' 'selenium>=4'

needs-run needs-test needs-dist needs-check needs-site needs-browser: needs-%:
	@tools/require.sh $*

clean: ## remove build/ and caches
	@rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find python tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## run clean, and remove the Python environments
	@rm -rf .venv .venv-jax .venv-torch .venv-oldest .venv-newest .venv-dist .venv-site
