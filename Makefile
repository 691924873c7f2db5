# The two front doors are `make quickstart` and `make test`; both do their own set-up. Plain `make` builds build/gmner.
# CC=clang, BUILD=folder and CMAKE_FLAGS=-D... change the build; JOBS the number of compilers at once.
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SOURCES = $(shell git ls-files '*.c' '*.h')

.PHONY: all sim cuda setup quickstart test test-gpu bench-gpu mutate cuda-report install clean format format-check help

all:
	tools/build $(BUILD) $(CC) $(JOBS) -DCMAKE_BUILD_TYPE=Release -DGM_TESTS=OFF $(CMAKE_FLAGS)

sim:
	tools/get-cuda > /dev/null
	tools/get-nccl > /dev/null || true
	$(MAKE) all CMAKE_FLAGS='-DGM_SIM=ON $(CMAKE_FLAGS)'

cuda:
	tools/get-cuda > /dev/null
	tools/get-nccl > /dev/null || true
	$(MAKE) all CMAKE_FLAGS='-DGM_CUDA=ON $(CMAKE_FLAGS)'

setup:
	tools/setup

quickstart: setup
	$(MAKE) all
	tools/get-weights minilm
	tools/quickstart $(BUILD)

test:
	tools/setup tests
	JOBS=$(JOBS) tools/test

test-gpu:
	JOBS=$(JOBS) tests/gpu/run

bench-gpu:
	JOBS=$(JOBS) benchmarks/gpu/run

mutate:
	tools/get-cuda > /dev/null
	tools/mutate -j $(JOBS)

cuda-report: sim
	tools/cuda-report --build $(BUILD) -j $(JOBS) $(REPORT_FLAGS)

install: all
	cmake --install $(BUILD)

clean:
	rm -rf build build-sanitize build-clang build-mutate

format:
	clang-format -i $(SOURCES)

format-check:
	clang-format --dry-run --Werror $(SOURCES)

help:
	@echo 'make              build build/gmner'
	@echo 'make sim          the same, with the simulator module: CUDA kernels on the CPU, for tests'
	@echo 'make cuda         the same, with the cuda module: for a GPU (sm_80 and newer), built without one'
	@echo 'make setup        install what is missing (Debian, root or sudo), or name it'
	@echo 'make quickstart   set up, build, fetch weights, synthesise, train, evaluate, predict'
	@echo 'make test         set up, build three times, all tests'
	@echo 'make test-gpu     on a machine with a GPU: operations and training steps there, then compute-sanitizer (CUDA toolkit, cmake, gcc)'
	@echo 'make bench-gpu    on a machine with a GPU: kernels and training steps timed, beside PyTorch where it is installed'
	@echo 'make mutate       break the CUDA kernels in hundreds of places: the tests must notice (about an hour)'
	@echo 'make cuda-report  registers, occupancy, launches and bytes of the CUDA kernels (docs/cuda.md), without a GPU'
	@echo 'make install      CMAKE_FLAGS=-DCMAKE_INSTALL_PREFIX=... chooses where'
	@echo 'make format       clang-format on all sources (format-check: only look)'
