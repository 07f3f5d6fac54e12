# vismin - one non-recursive Makefile. `make help` lists the targets.
#   B     build folder (default build)
#   MODE  release | asan | debug | f64 (every float a double, plain loops: gradient checks) | asan64 ; objects in $(B)/$(MODE)/
#         emu | emu-asan | emu-race: the CUDA kernels on the CPU (tests/emu/), `--device emu` in $(B)/$(MODE)/vismin;
#         emu-clang | emu-asan-clang: the same with kernels compiled by clang++
#         emu-ptx: what nvcc makes of them for PTX_ARCH (80), translated (tests/emu/ptx/), in $(B)/emu-ptx$(PTX_ARCH)/
#   WERROR=1 makes warnings errors (CI)
#   CUDA  the toolkit (default: where it usually lies; CUDA= builds without); CUARCH which architectures get code

B    ?= build
MODE ?= release
PTX_ARCH ?= 80
D    := $(B)/$(MODE)$(if $(filter emu-ptx,$(MODE)),$(PTX_ARCH))

CC   ?= cc
ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)

LIBS     := zlib libpng libjpeg json-c libpcre2-8 libutf8proc libcurl libmicrohttpd
PKGS_DEB := build-essential pkg-config zlib1g-dev libpng-dev libjpeg62-turbo-dev libjson-c-dev libpcre2-dev \
            libutf8proc-dev libcurl4-openssl-dev libmicrohttpd-dev libdnnl-dev curl
OPT      := -O3
CFLAGS_MODE_asan  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_MODE_debug := -O0 -g
CFLAGS_MODE_f64   := -O1 -Dvm_real=double -Wno-pass-failed
CFLAGS_MODE_asan64 := $(CFLAGS_MODE_asan) $(CFLAGS_MODE_f64)
CFLAGS_MODE_release := $(OPT) -g1
# the emulated device: kernels are C++ for EMU_CXX, its runtime is never sanitized. H is where the objects of C files lie: those
# of emu-race, emu-clang and emu-ptx are those of emu.
EMU      := $(filter emu emu-%,$(MODE))
EMU_CXX  ?= $(if $(findstring clang,$(MODE)),clang++,$(CXX))
EMU_SAN  := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_MODE_emu      := -O2 -g1 -DVM_EMU -DVM_HAVE_CUDA
CFLAGS_MODE_emu-race := $(CFLAGS_MODE_emu)
CFLAGS_MODE_emu-clang := $(CFLAGS_MODE_emu)
CFLAGS_MODE_emu-ptx  := $(CFLAGS_MODE_emu)
CFLAGS_MODE_emu-asan := -O1 -g $(EMU_SAN) -DVM_EMU -DVM_HAVE_CUDA
CFLAGS_MODE_emu-asan-clang := $(CFLAGS_MODE_emu-asan)
EMU_CU_emu      := -O2 -g1
EMU_CU_emu-race := -O1 -g -fsanitize=thread
EMU_CU_emu-asan := -O1 -g $(EMU_SAN)
EMU_CU_emu-clang := -O2 -g1
EMU_CU_emu-asan-clang := -O1 -g $(EMU_SAN) -fno-sanitize=function
EMU_CU_emu-ptx  := -O1 -g1 -DEMU_PTX
EMU_RT_emu-race := -DEMU_RACE
EMU_RT_emu-ptx  := -DEMU_RACE -DEMU_PTX
EMU_RT_emu-asan := -DEMU_ASAN
EMU_RT_emu-asan-clang := -DEMU_ASAN
EMU_CXXFLAGS = -std=c++17 -I. -Wall -Wextra -Wno-unknown-pragmas -Wno-unused-parameter $(if $(findstring clang,$(EMU_CXX)),-Wno-pass-failed) $(if $(WERROR),-Werror) $(MARCH) -DVM_EMU -DVM_HAVE_CUDA
MARCH    := $(if $(filter x86_64,$(ARCH)),-march=x86-64-v2,)
# no -ffast-math: NaN checks must work and results must not depend on flags;
# nobody reads the exception flags, and with them no loop that selects between two results could be vectorised
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Wshadow -Wstrict-prototypes -Wno-unused-parameter \
             $(if $(WERROR),-Werror) $(MARCH) -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=fast \
             $(CFLAGS_MODE_$(MODE)) $(shell pkg-config --cflags $(LIBS) 2>/dev/null) $(CFLAGS)
# several processes: MPI and NCCL where they are installed (MPI= and CUDA= build without)
MPI      ?= $(firstword $(shell for p in ompi-c mpich; do pkg-config --exists $$p && echo $$p; done))
CUDA     ?= $(firstword $(wildcard /usr/local/cuda /usr/lib/cuda))
# kernels for CUDA (kernels/*.cu) are in the release mode where the toolkit has a compiler. The runtime is linked in and finds
# the driver when it is asked for a device: the program starts without one.
NVCC     ?= $(if $(CUDA),$(wildcard $(CUDA)/bin/nvcc))
HAVE_CU  := $(and $(NVCC),$(filter release,$(MODE)))
CU_LIBS  := $(if $(HAVE_CU),-L$(firstword $(wildcard $(CUDA)/lib64 $(CUDA)/lib)) -lcudart_static -lrt)
LDLIBS_ALL = $(shell pkg-config --libs $(LIBS) $(MPI) 2>/dev/null) -ldnnl $(CU_LIBS) $(if $(EMU),-lstdc++) -lm -ldl -lpthread $(LDLIBS)

SRC      := $(filter-out pipeline/main.c,$(wildcard kernels/*.c models/*.c io/*.c pipeline/*.c))
# kernels/*_cpu.c are compiled once per processor level; the program picks at start (kernels/graph.h VM_CPU)
CPU_SRC  := $(filter-out kernels/backend_cpu.c,$(wildcard kernels/*_cpu.c))
CU_SRC   := $(if $(HAVE_CU)$(EMU),$(wildcard kernels/*.cu))
EMU_SRC  := $(if $(EMU),$(filter-out tests/emu/test_%,$(wildcard tests/emu/*.cc)))
PTX_SRC  := $(if $(filter emu-ptx,$(MODE)),tests/emu/ptx/ops.c tests/emu/ptx/lane.c)
LEVELS   := $(if $(filter f64 asan64,$(MODE))$(EMU),base,$(if $(filter x86_64,$(ARCH)),v2 v3 v4,base))
H        := $(if $(filter emu-race emu-clang emu-ptx,$(MODE)),$(B)/emu,$(if $(filter emu-asan-clang,$(MODE)),$(B)/emu-asan,$(D)))
OBJ      := $(patsubst %.c,$(H)/%.o,$(filter-out $(CPU_SRC),$(SRC))) \
            $(foreach l,$(LEVELS),$(CPU_SRC:%.c=$(H)/%.$(l).o)) $(H)/pipeline/embedded_files.o $(CU_SRC:%.cu=$(D)/%.cu.o) $(EMU_SRC:%.cc=$(D)/%.o) $(PTX_SRC:%.c=$(H)/%.o)
MARCH_v2 := -march=x86-64-v2
MARCH_v3 := -march=x86-64-v3
MARCH_v4 := -march=x86-64-v4 -mprefer-vector-width=512
LIB      := $(D)/libvismin.a
BIN      := $(if $(filter release,$(MODE)),$(B)/vismin,$(D)/vismin)
TEST_SRC := $(wildcard tests/test_*.c)
GRAD_SRC := $(wildcard tests/grad_*.c)
TESTS    := $(patsubst tests/%.c,$(D)/tests/%,$(TEST_SRC) $(wildcard tests/mpi_*.c))
GRADS    := $(GRAD_SRC:tests/%.c=$(D)/tests/%)
BENCHES  := $(patsubst %.c,$(D)/%,$(wildcard bench/*.c))
SCRIPTS  := $(wildcard tests/cli_*.sh)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
all: deps $(BIN) ## build build/vismin

# --- packages: named when missing, then installed -------------------------------------------------------------------
.PHONY: deps
deps:
	@sh tests/deps.sh "$(LIBS)" "$(PKGS_DEB)"

# --- objects --------------------------------------------------------------------------------------------------------
$(H)/%.o: %.c | deps
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# prompts, demonstrations and tables of the stages are part of the program
EMBED    := $(sort $(wildcard pipeline/prompts/* pipeline/tables/*))
$(H)/pipeline/embedded_files.c: pipeline/embed.sh $(EMBED)
	@mkdir -p $(@D)
	@sh pipeline/embed.sh $(EMBED) >$@
$(H)/pipeline/embedded_files.o: $(H)/pipeline/embedded_files.c
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# pictures of the miniature world are the same bytes everywhere: no fused multiply-add there
$(H)/models/scene_render.o: override CFLAGS += -ffp-contract=off

# sums of rounded products have one rounding after another on all processors
$(H)/kernels/linear_q8_cpu.%.o: override CFLAGS += -ffp-contract=off

$(H)/kernels/comm_mpi.o: override CFLAGS += $(if $(MPI),-DVM_HAVE_MPI $(shell pkg-config --cflags $(MPI)))
$(H)/kernels/comm.o $(H)/kernels/comm_nccl.o: override CFLAGS += \
    $(if $(CUDA),$(if $(wildcard $(CUDA)/include/nccl.h),-DVM_HAVE_NCCL -isystem $(CUDA)/include))

# machine code for each architecture, and intermediate code of the newest for those to come
CU_KNOWN := $(if $(HAVE_CU),$(patsubst sm_%,%,$(shell $(NVCC) --list-gpu-code)))
CUARCH   ?= $(foreach a,80 86 89 90a 100 120,$(if $(filter $(a:%a=%),$(CU_KNOWN)),$(a)))
CU_CODE  := $(foreach a,$(CUARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
            $(foreach a,$(lastword $(CUARCH)),-gencode arch=compute_$(a),code=compute_$(a))
CU_FLAGS := -std=c++17 -O3 -I. -lineinfo -Xfatbin -compress-all $(if $(WERROR),-Werror all-warnings) -DVM_HAVE_CUDA \
            -Xcompiler -Wall,-Wno-unused-function,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-fPIC -diag-suppress 177
ifneq ($(EMU),)
EMU_OBJ := $(if $(filter emu-ptx,$(MODE)),host.o,cu.o)
$(D)/%.$(EMU_OBJ): %.cu | deps
	@mkdir -p $(@D)
	$(EMU_CXX) -x c++ $(EMU_CXXFLAGS) $(EMU_CU_$(MODE)) -MMD -MP -c $< -o $@

$(D)/%.o: %.cc | deps
	@mkdir -p $(@D)
	$(CXX) $(EMU_CXXFLAGS) -O2 -g1 $(EMU_RT_$(MODE)) -MMD -MP -c $< -o $@
else
$(D)/%.cu.o: %.cu $(D)/cuda.flags | deps
	@mkdir -p $(@D)
	$(NVCC) $(CU_FLAGS) $(CU_CODE) $(NVCCFLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@
endif

# PTX of nvcc -> C -> object; the launchers of the host's compilation find its kernels (tests/emu/ptx/lane.h)
ifneq ($(filter emu-ptx,$(MODE)),)
$(D)/%.ptx: %.cu | deps
	@mkdir -p $(@D)
	$(NVCC) $(CU_FLAGS) -arch=sm_$(PTX_ARCH) -ptx $(NVCCFLAGS) -MMD -MP -MF $@.d $< -o $@

$(D)/%.ptx.c: $(D)/%.ptx $(B)/ptx2c
	$(B)/ptx2c $< $@ $(notdir $*).sm_$(PTX_ARCH).ptx

$(D)/%.ptx.o: $(D)/%.ptx.c tests/emu/ptx/ops.h tests/emu/ptx/ops_float.h tests/emu/ptx/lane.h
	$(CC) $(PTX_CFLAGS) -c $< -o $@

$(D)/%.cu.o: $(D)/%.host.o $(D)/%.ptx.o
	$(LD) -r $(filter %.o,$^) -o $@
endif
PTX_CFLAGS = -std=gnu11 -I. -w -O0 -g0 $(MARCH) -fno-strict-aliasing -fno-math-errno -ffp-contract=off
PTX2C   := $(addprefix tests/emu/ptx/,lex.c parse.c operand.c emit.c emit_alu.c emit_move.c emit_warp.c main.c)
$(B)/ptx2c: $(PTX2C) tests/emu/ptx/ptx.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -I. -O1 -g -Wall -Wextra -Wshadow -Wstrict-prototypes $(if $(WERROR),-Werror) $(PTX2C) -o $@
$(H)/tests/emu/ptx/%.o: override CFLAGS += -ffp-contract=off

# the translator's own tests: single instructions; bugs in the inline PTX of gpu.cuh
$(B)/ptx-ops/writer: tests/emu/ptx/test_ops.c tests/emu/ptx/cases_int.h tests/emu/ptx/cases_float.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -I. -DWRITER $< -o $@
$(B)/ptx-ops/ops.ptx: $(B)/ptx-ops/writer
	$< >$@
$(B)/ptx-ops/ops.c: $(B)/ptx-ops/ops.ptx $(B)/ptx2c
	$(B)/ptx2c $< $@
$(B)/ptx-ops/ops.o: $(B)/ptx-ops/ops.c tests/emu/ptx/ops.h tests/emu/ptx/ops_float.h tests/emu/ptx/lane.h
	$(CC) $(PTX_CFLAGS) -c $< -o $@
$(D)/tests/emu/ptx/test_ops: $(addprefix $(H)/tests/emu/ptx/,test_ops.o ops.o lane.o) $(B)/ptx-ops/ops.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)
$(B)/ptx-ops/warp.c: tests/emu/ptx/warp.ptx $(B)/ptx2c
	@mkdir -p $(@D)
	$(B)/ptx2c $< $@
$(B)/ptx-ops/warp.o: $(B)/ptx-ops/warp.c tests/emu/ptx/ops.h tests/emu/ptx/ops_float.h tests/emu/ptx/lane.h
	$(CC) $(PTX_CFLAGS) -c $< -o $@
$(D)/tests/emu/ptx/test_warp: $(D)/tests/emu/ptx/test_warp.o $(addprefix $(H)/tests/emu/ptx/,ops.o lane.o) $(B)/ptx-ops/warp.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)
ptx-files: $(CU_SRC:%.cu=$(D)/%.ptx)
ptx-bugs: $(D)/tests/emu/ptx/probe.host.o $(LIB) $(B)/ptx2c
	@CC='$(CC)' PTX_CFLAGS='$(PTX_CFLAGS)' LIBS='$(LDLIBS_ALL)' sh tests/emu/ptx/bugs.sh $(B) $(NVCC) $(PTX_ARCH)

# with and without CUDA are two programs in one folder: what differs is made anew
$(D)/cuda.flags: FORCE
	@mkdir -p $(@D); echo '$(if $(HAVE_CU),$(NVCC) $(CU_FLAGS) $(CU_CODE))' | cmp -s - $@ || \
	    echo '$(if $(HAVE_CU),$(NVCC) $(CU_FLAGS) $(CU_CODE))' >$@
FORCE:
$(filter $(D)/kernels/%,$(OBJ)): $(D)/cuda.flags
$(D)/kernels/%.o: override CFLAGS += $(if $(HAVE_CU),-DVM_HAVE_CUDA -isystem $(CUDA)/include)

define level_rule
$(H)/%.$(1).o: %.c | deps
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS_ALL) $$(MARCH_$(1)) -DVM_LEVEL_SUFFIX=_$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach l,$(LEVELS),$(eval $(call level_rule,$(l))))

$(LIB): $(OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

$(BIN): $(H)/pipeline/main.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)

$(D)/tests/%: $(H)/tests/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)

# a stand-in for cuBLASLt, which the emulated device cannot use
$(D)/tests/fake_cublaslt.so: tests/fake/cublaslt.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -Wall -Wextra -Wno-unused-parameter $(if $(WERROR),-Werror) -fPIC -shared $< -o $@ -lm
ifneq ($(EMU),)
$(D)/tests/test_gpu_blas: | $(D)/tests/fake_cublaslt.so
endif

# programs of kernels: the tables of the wrappers, the emulated device's own tests, kernels with bugs
$(D)/tests/emu/test_onehot: $(H)/tests/emu/test_onehot.o $(D)/tests/emu/onehot.cu.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)
$(D)/tests/emu/test_emu: $(D)/tests/emu/test_emu.cu.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)
$(D)/tests/emu/bugs/bugs: $(patsubst %.cu,$(D)/%.cu.o,$(wildcard tests/emu/bugs/*.cu)) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)

$(D)/bench/%: $(H)/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDLIBS_ALL)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# --- tests ----------------------------------------------------------------------------------------------------------
.PHONY: all FORCE ptx-files ptx-bugs ptxas test-gpu bench-gpu emu emu-programs test test-programs asan soak lint fuzz bench demo install uninstall clean help
test-programs: $(BIN) $(TESTS)
grad-programs: $(GRADS)

# Tests of kernels: those that look at VISMIN_TEST_DEVICE; an op without a .cu file has none to test.
EMU_TESTS := $(foreach t,$(patsubst tests/%.c,%,$(shell grep -lE 'tests/optest.h|VISMIN_TEST_DEVICE' $(TEST_SRC))),\
               $(if $(wildcard kernels/$(t:test_%=%).cu),$t,$(if $(wildcard kernels/$(t:test_%=%).c),,$t))) test_host gpu_clip test_gpu_blas emu/test_emu emu/test_onehot emu/ptx/test_ops emu/ptx/test_warp
emu-programs: $(BIN) $(EMU_TESTS:%=$(D)/tests/%)

EMU_MODES := emu emu-asan emu-race $(if $(shell command -v clang++),emu-clang emu-asan-clang)
# what nvcc makes of the kernels, for the oldest architecture and for Hopper; ptxas for all
PTX_ARCHS := $(if $(NVCC),80 90a)
emu: ## the CUDA kernels on the CPU: every lane, order of threads and compiler; injected bugs; what nvcc makes of them
	@set -e; for m in $(EMU_MODES); do $(MAKE) MODE=$$m emu-programs; done
	@set -e; for m in emu emu-asan emu-race; do $(MAKE) MODE=$$m $(B)/$$m/tests/emu/bugs/bugs; done
	@set -e; for a in $(PTX_ARCHS); do $(MAKE) MODE=emu-ptx PTX_ARCH=$$a emu-programs $(B)/emu-ptx$$a/tests/emu/bugs/bugs; done
	@for a in $(PTX_ARCHS); do $(MAKE) -s MODE=emu-ptx PTX_ARCH=$$a ptx-bugs; done >$(B)/ptx.log 2>&1; true
	@$(if $(NVCC),{ sh tests/emu/ptx/gate.sh $(B) $(NVCC:nvcc=ptxas); $(MAKE) -s ptxas; } >>$(B)/ptx.log 2>&1; true)
	@sh tests/emu/run.sh $(B) "$(EMU_MODES) $(PTX_ARCHS:%=emu-ptx%)" "$(EMU_TESTS)"
ptxas: ## what the assembler makes of every kernel, for each of CUARCH: registers, stack, spills (tests/emu/ptxas.txt)
	@set -e; for a in $(CUARCH); do $(MAKE) MODE=emu-ptx PTX_ARCH=$$a ptx-files; done
	@sh tests/emu/ptxas.sh $(B) $(NVCC:nvcc=ptxas) "$(CUARCH)"

test: ## build and run all tests: lint, unit tests, gradient checks in double precision, CUDA kernels on the CPU, command line
	@sh tests/deps.sh "$(LIBS)" "$(PKGS_DEB)"
	$(MAKE) MODE=release test-programs
	$(MAKE) MODE=f64 grad-programs
	$(MAKE) MODE=emu emu-programs
	$(MAKE) MODE=emu-race emu-programs
	@VISMIN=$(B)/vismin sh tests/run.sh $(B) tests/lint.sh $(TEST_SRC:tests/%.c=$(B)/release/tests/%) \
	    $(GRAD_SRC:tests/%.c=$(B)/f64/tests/%) $(EMU_TESTS:%=$(B)/emu/tests/%) $(EMU_TESTS:%=$(B)/emu-race/tests/%) \
	    tests/emu/ptx/refuse.sh tests/emu_cli.sh $(SCRIPTS)

asan: ## all tests under the address and undefined-behaviour sanitizers
	$(MAKE) MODE=asan test-programs
	$(MAKE) MODE=asan64 grad-programs
	@ASAN_OPTIONS=detect_leaks=1 VISMIN=$(B)/asan/vismin sh tests/run.sh $(B) \
	    $(TEST_SRC:tests/%.c=$(B)/asan/tests/%) $(GRAD_SRC:tests/%.c=$(B)/asan64/tests/%) $(SCRIPTS)

GPU ?= cuda:0
test-gpu: ## the tests of kernels on a GPU (GPU=cuda:0), compute-sanitizer where it is installed, a CLIP op by op against the processor
	$(MAKE) MODE=release $(BIN) $(TESTS) $(B)/release/tests/gpu_clip
	@sh tests/gpu.sh $(B)/release $(GPU)

bench-gpu: ## each family of kernels on a GPU against its copy rate and largest product: JSON, table, roofline; PEERS=1: torch beside it
	$(MAKE) MODE=release $(B)/release/bench/gpu
	@GPU=$(GPU) sh bench/gpu.sh $(B)/release

SOAK_KILLS ?= 200
soak: $(BIN) ## kill -9 at SOAK_KILLS random moments of a training, of an evaluation, of instructions; the bytes of the results are compared
	@VISMIN=$(BIN) SOAK_KILLS=$(SOAK_KILLS) sh tests/soak.sh

# Every tests/fuzz/fuzz_NAME.c is one fuzzer (libFuzzer of clang): make fuzz, or one of them: make fuzz-NAME.
# What it finds is left as build/fuzz/crash-...; seeds stand in tests/fuzz/corpus/NAME/, what is learnt in build/fuzz/corpus/.
FUZZ_CC   ?= clang
FUZZ_RUNS ?= 200000
FUZZ_SRC  := kernels/base.c $(wildcard io/*.c pipeline/eval_*.c) $(wildcard pipeline/layout_*.c) $(addprefix pipeline/,media.c metrics.c args.c relation.c edit.c edit_rules.c embedded.c lm_data.c lm_feed.c boxes.c box_score.c box_counts.c)
FUZZ_FLAGS = -std=c11 -D_GNU_SOURCE -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -I. -O1 -g $(MARCH) \
             -fno-sanitize-recover=undefined -fno-omit-frame-pointer $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
FUZZERS   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/fuzz/%.o: %.c | deps
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@
$(B)/fuzz/pipeline/embedded_files.o: $(H)/pipeline/embedded_files.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -c $< -o $@
$(B)/fuzz/libfuzzed.a: $(FUZZ_SRC:%.c=$(B)/fuzz/%.o) $(B)/fuzz/pipeline/embedded_files.o
	@rm -f $@
	@$(AR) rcs $@ $^
$(B)/fuzz/fuzz_%: $(B)/fuzz/tests/fuzz/fuzz_%.o $(B)/fuzz/libfuzzed.a
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined $^ -o $@ \
	    $(shell pkg-config --libs $(LIBS) 2>/dev/null) -lm -lpthread

fuzz: $(FUZZERS:%=fuzz-%) ## every reader of files against random bytes (clang), FUZZ_RUNS each
fuzz-%: $(B)/fuzz/fuzz_%
	@mkdir -p $(B)/fuzz/corpus/$*
	@echo "fuzz $*: $(FUZZ_RUNS) runs"; \
	$< -runs=$(FUZZ_RUNS) -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(B)/fuzz/ $(B)/fuzz/corpus/$* $(wildcard tests/fuzz/corpus/$*) >$(B)/fuzz/$*.log 2>&1 \
	|| { tail -n 40 $(B)/fuzz/$*.log; echo "FAIL fuzz $*"; exit 1; }; \
	sed -n 's/^stat::number_of_executed_units: */ok fuzz '$*', executions: /p' $(B)/fuzz/$*.log

lint: ## layering by #include lines, file sizes, forbidden calls
	@sh tests/lint.sh

bench: $(BIN) $(BENCHES) ## measure kernels and models; JSON in bench/results/
	@sh bench/run.sh $(D)

VENV ?= $(B)/peers
.PHONY: peers
peers: all ## Python libraries load what was exported: transformers, open_clip, PEFT, TensorBoard (their own environment; not part of the tests)
	@VISMIN=$(BIN) VENV=$(VENV) sh tests/compat/run.sh

demo: all ## the main job on the embedded miniature world; report/index.html
	@$(BIN) demo

.PHONY: weights/clip weights/llm
weights/clip: all ## train the small CLIP models of weights/tiny anew (hours; resumable)
	@sh weights/clip.sh $(BIN) $(B)/weights
weights/llm: all ## train the small language model of weights/tiny/llm anew (half an hour; resumable)
	@sh weights/llm.sh $(BIN) $(B)/weights

.PHONY: weights/inpaint
weights/inpaint: all ## train the small inpainting model of weights/tiny anew (two or three hours; resumable)
	@sh weights/inpaint.sh $(BIN) $(B)/weights

.PHONY: weights/grounding_dino
weights/grounding_dino: all ## train the small detector of weights/tiny anew (an hour or two; resumable)
	@sh weights/detect.sh $(BIN) $(B)/weights

PREFIX ?= /usr/local
install: all ## install to $(DESTDIR)$(PREFIX)/bin
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/vismin
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/vismin

clean: ## remove the build folder
	rm -rf $(B)

help: ## this list
	@grep -hE '^[a-z/-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'
