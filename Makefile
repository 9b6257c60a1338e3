# Everything a visitor or a developer runs. Needs Python >= 3.11, make and git; the rest is installed into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Most tests wait for servers and processes, so that three keep two processors busy.
JOBS ?= 3
ARGS ?=
LONG_FUZZ ?= 1000
LONG_SEARCH ?= 100
LONG_KILLS ?= 60

# Programs that the deeper checks use and no package registry of Python has; nothing to do where they are.
from-debian = @for name in $(1); do command -v $${name%:*} > /dev/null \
	|| RUNLEVEL=1 apt-get install -qq -y --no-install-recommends $${name\#*:} || exit 1; done

unexport PYTHONDONTWRITEBYTECODE  # the tests start hundreds of processes; compiling anew each time doubles that

.DEFAULT_GOAL := help
.PHONY: help install demo run test test-long coverage test-ui browser screenshots chaos timing fuzz mutate audit check docker-check
.PHONY: deploy-check package-check format bench clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' \
		| while IFS='|' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

install: $(INSTALLED) ## Set up .venv with the pinned versions (PYTHON=python3.12 chooses the interpreter)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV); the first time takes a minute or two"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,sandbox]'
	touch $@

demo: $(INSTALLED) ## Run the whole job for real, offline; ARGS=--crash kills the relay on the way
	@$(BIN)/soniox-relay demo $(ARGS)

run: $(INSTALLED) ## Run sandbox and relay until Ctrl-C, and print how to reach them
	@$(BIN)/soniox-relay run $(ARGS)

test: $(INSTALLED) ## Run every test of behaviour, on SQLite and PostgreSQL, in 12 minutes; ARGS goes to pytest
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not long" --durations=25 $(ARGS)

test-long: $(INSTALLED) ## Run the long forms: each crash point, many processes, fuzzing, package, image; an hour
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m long $(ARGS)
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n 2 --timeout 0 tests/test_transcript_codec.py tests/test_search.py
	FUZZ_EXAMPLES=$(LONG_FUZZ) $(BIN)/python -m pytest --timeout 0 tests/test_fuzz.py
	RELAY_STATE_MACHINE_EXAMPLES=$(LONG_SEARCH) $(BIN)/python -m pytest --timeout 0 -k every_job_ends_once tests/test_state_machine.py
	$(BIN)/python -m tests.chaos --kills $(LONG_KILLS)
	$(BIN)/python -m tests.package
	$(MAKE) docker-check

coverage: $(INSTALLED) ## Measure by branch what the tests run through, and list the modules that are not whole
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not long" --cov --cov-report=term $(ARGS)

browser: ## Install Debian's Chromium for the tests of the dashboard (as root, on Debian)
	$(call from-debian,chromium)

test-ui: $(INSTALLED) browser ## Test the dashboard in a real browser; make test does so too where it finds one
	$(BIN)/python -m pytest tests/ui $(ARGS)

screenshots: $(INSTALLED) browser ## Draw the pictures of docs/img anew
	$(BIN)/python -m tests.ui.screenshots

chaos: $(INSTALLED) ## Kill the relay a thousand times while jobs come in, and count; ARGS="--kills 100"
	$(BIN)/python -m tests.chaos.timing
	$(BIN)/python -m tests.chaos $(ARGS)

timing: $(INSTALLED) ## Measure whether the time of a header check tells anything about the right one
	$(BIN)/python -m tests.chaos.timing $(ARGS)

fuzz: $(INSTALLED) ## Fuzz every parser and the application at length, and count; FUZZ_EXAMPLES=20000
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-20000} $(BIN)/python -m pytest --timeout 0 $(ARGS) tests/test_fuzz.py

mutate: $(INSTALLED) ## Change one thing at a time in the modules that guard, and count what the tests notice
	$(BIN)/python -m tests.mutation $(ARGS)

audit: $(INSTALLED) ## Look the pinned versions up among known security holes (needs the internet)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

check: $(INSTALLED) ## Check format, lint, types, import contracts, the Dockerfile and deploy/
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest tests/test_deploy.py tests/test_image.py tests/test_operations_files.py

docker-check: $(INSTALLED) ## Build the image with buildah and run each role of it (as root, on Debian)
	$(call from-debian,buildah debootstrap)
	$(BIN)/python -m tests.image

deploy-check: $(INSTALLED) ## Try deploy/ with the real programs: nginx, caddy, systemd, kustomize (as root, on Debian)
	$(call from-debian,nginx caddy kubectl:kubernetes-client systemd-analyze:systemd)
	$(BIN)/python -m pytest tests/test_deploy.py tests/test_proxies.py $(ARGS)

package-check: $(INSTALLED) ## Install the wheel into fresh environments and run it, demo included
	$(BIN)/python -m tests.package

format: $(INSTALLED) ## Put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## Measure beside baselines, into bench/results.md, in 10 minutes; ARGS="ack submit" chooses, --short only runs it
	@$(BIN)/python -m bench $(ARGS)

clean: ## Remove .venv and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .run
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
