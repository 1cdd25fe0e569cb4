# Wherry: every way into the project. Nothing is needed but root, the package registries and Python 3.11.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTEST := .venv/bin/python -m pytest
STRICT := WHERRY_STRICT=1 PATH="$(CURDIR)/.venv/bin:$$PATH"

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## .venv/bin/wherry and .venv/bin/wherryd, ready to use
	@tools/setup run

dev: ## setup, and what tests and benches need
	@tools/setup test

demo: setup ## two containers from Debian packages: a hello, and a published web server
	@tools/demo

images: dev ## the test images
	@.venv/bin/python tools/images all

check: dev ## ruff, mypy --strict, import-linter
	@.venv/bin/ruff check src tests tools bench
	@.venv/bin/mypy
	@.venv/bin/lint-imports

test: check images ## everything: unit, contract, security, end to end
	@$(STRICT) $(PYTEST) tests/unit tests/contract tests/security tests/e2e

retest: dev ## what failed in the last test run, once more and alone
	@$(STRICT) $(PYTEST) --last-failed --last-failed-no-failures none tests/unit tests/contract tests/security tests/e2e

test-fast: dev ## unit and contract tests (under a minute)
	@$(STRICT) $(PYTEST) -q tests/unit tests/contract

test-long: check images ## storms and long fuzzing; the last result stands in tests/long/RESULT.md
	@$(STRICT) tools/test-long

test-vm: images ## the tests that need pure cgroup v2, in a virtual machine
	@tools/vm/test

bench: images ## the ratio table; AGAINST=unix:///path/docker.sock compares with a Docker engine
	@.venv/bin/python bench $(if $(AGAINST),--against $(AGAINST)) $(BENCHFLAGS)

clean: ## remove what make made here (not the images in /var/cache/wherry-images)
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup dev demo images check test retest test-fast test-long test-vm bench clean
