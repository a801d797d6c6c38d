# SPDX-License-Identifier: GPL-2.0
#
# For users. The kernel's build system reads Kbuild.
#
#   make            build the module against KDIR, as for any external module
#   make run        install what is needed, build, and show the core at work in a guest
#   make help       list all targets

KVER	?= $(shell uname -r)
KDIR	?= /lib/modules/$(KVER)/build
PYTHON	?= python3
IC	:= $(PYTHON) $(CURDIR)/tools/ic

# Variables that the tools read; an empty one means the default.
export MIRROR JOBS SIGN_KEY SIGN_CERT

# The variables of the command line that have a value, and those of $1 that a target does not have:
# a variable that does nothing is refused, since it means that something else was asked for. If
# there are several targets, it may be for another one.
given := $(if $(word 2,$(MAKECMDGOALS)),,$(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$(if $($v),$v))))
COMMON_VARS := MIRROR JOBS PYTHON XDG_CACHE_HOME MAKEFLAGS SHELL %_proxy %_PROXY
TOOL_VARS := KERNEL SIGN_KEY SIGN_CERT VIOMMU FILTER CONTINUE TABLES SECONDS UPDATE MIRROR JOBS
refuse = $(if $1,echo 'make $(or $(MAKECMDGOALS),modules): $(firstword $1)= does nothing here$(hint_$(firstword $1)).' >&2; \
	echo 'It reads: $(or $(strip $(foreach v,$2,$v=)),no variable)' >&2; exit 1;)

.DEFAULT_GOAL := modules

# --- the module, against a kernel build folder -----------------------------------------------

.PHONY: modules modules_install clean
modules: | rust-metadata
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

modules_install: | rust-metadata
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules_install

# `clean` must also work if there is no kernel build folder.
clean:
	@rm -f iommu_core.ko iommu_core.mod iommu_core.mod.c modules.order Module.symvers .module-common.o
	@find . -path ./.git -prune -o \( -name '*.o' -o -name '.*.cmd' -o -name '*.rsi' \) -exec rm -f {} +
	@find tools tests -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf tests/host/target tools/lsiommu/target

.PHONY: rust-metadata
rust-metadata:
	@$(call refuse,$(filter $(TOOL_VARS),$(given)),KDIR KVER RUSTC INSTALL_MOD_PATH)sh tools/check-kdir.sh '$(KDIR)' '$(or $(RUSTC),rustc)'

# --- everything else goes through tools/ic ---------------------------------------------------

.PHONY: setup build install uninstall deb deb-test run test shell kunit host-test lsiommu lsiommu-test firmware-test fuzz mutants compile-fail lint arrows fmt kernel bench native native-test native-calls
setup build install uninstall deb deb-test run test shell kunit host-test lsiommu lsiommu-test firmware-test fuzz mutants compile-fail lint arrows fmt kernel bench native native-test native-calls: | python
	@$(call refuse,$(filter-out $(COMMON_VARS) $(IC_VARS),$(given)),$(IC_VARS) MIRROR JOBS)$(IC) $@ $(IC_ARGS)

.PHONY: failure-test
failure-test: | python
	@$(call refuse,$(filter-out $(COMMON_VARS),$(given)),MIRROR JOBS)$(IC) guest-test --custom --iommu vtd amdvi --filter failures

kunit mutants deb-test native-calls: IC_VARS = FILTER
native-test: IC_VARS = FILTER CONTINUE
setup: IC_VARS = KERNEL ARCH UPDATE
build: IC_VARS = KERNEL ARCH
install: IC_VARS = KERNEL ARCH INSTALL_MOD_PATH SIGN_KEY SIGN_CERT
uninstall: IC_VARS = INSTALL_MOD_PATH
deb: IC_VARS = KERNEL ARCH SIGN_KEY SIGN_CERT
firmware-test: IC_VARS = TABLES
fuzz: IC_VARS = TABLES SECONDS
run shell: IC_VARS = VIOMMU KERNEL
native: IC_VARS = VIOMMU ARCH
lsiommu: IC_VARS = ARCH

run shell: hint_ARCH = : VIOMMU= chooses the architecture (smmuv3 is arm64)
test: hint_FILTER = : tools/ic guest-test --filter runs some of the tests in guests
build install deb setup: hint_VIOMMU = : one module has the drivers of all units of its architecture, ARCH=
modules modules_install: hint_KERNEL = : KDIR= chooses the kernel; make build KERNEL=$(KERNEL) fetches one
modules modules_install: hint_JOBS = : make -j$(JOBS)

setup build install deb run shell: IC_ARGS += $(if $(KERNEL),--kernel '$(KERNEL)')
setup build install deb native lsiommu: IC_ARGS += $(if $(ARCH),--arch '$(ARCH)')
setup: IC_ARGS += $(if $(UPDATE),--update)
run shell native: IC_ARGS += $(if $(VIOMMU),--iommu '$(VIOMMU)')
firmware-test fuzz: IC_ARGS += $(if $(TABLES),--tables '$(abspath $(TABLES))')
fuzz: IC_ARGS += $(if $(SECONDS),--seconds '$(SECONDS)')
kunit mutants deb-test native-test native-calls: IC_ARGS += $(if $(FILTER),--filter '$(FILTER)')
native-test: IC_ARGS += $(if $(CONTINUE),--continue)

.PHONY: python
python:
	@PYTHON='$(PYTHON)' sh tools/bootstrap.sh

.PHONY: help
help:
	@echo 'Build against a kernel build folder (KDIR=, now $(KDIR)):'
	@echo '  make                  build iommu_core.ko'
	@echo '  make modules_install  install it below /lib/modules (INSTALL_MOD_PATH=)'
	@echo '  make clean            remove what a build has left in the checkout'
	@echo
	@echo 'Build for the stock Debian kernel, run, test (each command does the set-up that it needs):'
	@echo '  make run              build, boot the stock kernel in a guest, show the core at work'
	@echo '                        (VIOMMU=vtd: Intel VT-d, the default; amdvi: AMD-Vi; smmuv3: Arm SMMUv3;'
	@echo '                        vtd-scalable, vtd-first-stage: VT-d in scalable mode; KERNEL=)'
	@echo '  make test             every test of the module; ends with N passed, N failed, N skipped'
	@echo '  make shell            an interactive guest with the module loaded (VIOMMU=, KERNEL= as for run)'
	@echo '  make build            build iommu_core.ko and print where it is (ARCH=amd64, arm64; KERNEL=)'
	@echo '  make install          install that module on this machine (it must run that kernel), or below the root of'
	@echo '                        another machine: INSTALL_MOD_PATH=<root> ARCH=arm64 (SIGN_KEY=, SIGN_CERT=: sign it)'
	@echo '  make uninstall        remove what make install has installed'
	@echo '  make deb              build Debian packages and print where they are: the module for the newest kernel of each'
	@echo '                        supported series, what boots it, and lsiommu (KERNEL=, ARCH=; SIGN_KEY=, SIGN_CERT=)'
	@echo '  make deb-test         check the packages: lintian; install, upgrade, remove, purge in Debian roots; start from disk,'
	@echo '                        with Secure Boot too (FILTER=lintian, dracut, disk)'
	@echo '  make setup            only download the toolchain, the kernel and QEMU (UPDATE=1: newer versions; ARCH=, KERNEL=)'
	@echo '  make kunit            KUnit suites on User-mode Linux (FILTER=iommu_core_group*)'
	@echo '  make host-test        tests of pure code with cargo'
	@echo '  make lsiommu          build lsiommu, the program that lists IOMMUs, groups and devices (ARCH=)'
	@echo '  make lsiommu-test     tests of lsiommu, against records of machines'
	@echo '  make firmware-test    compare our parsers of firmware tables with iasl (TABLES=<folder>: its tables)'
	@echo '  make fuzz             fuzz these parsers and the decoders of records (TABLES=<folder>: tables to start'
	@echo '                        from; SECONDS=<n>: for each target)'
	@echo '  make mutants          break laws and rules on purpose, one at a time: a test has to fail (FILTER="law 8")'
	@echo '  make failure-test     make each allocation of a takeover, a hot-plug, a reset and a driver that gets interrupts'
	@echo '                        fail; takes long (make test does the same with some of them)'
	@echo '  make compile-fail     check that code which must not compile does not'
	@echo '  make kernel           the custom x86-64 kernel with the suites and the debug options'
	@echo '  make native           build a kernel whose IOMMU layer is the core, boot it in a guest, show it at'
	@echo '                        work (VIOMMU= as for run, ARCH=; Documentation/native.md)'
	@echo '  make native-test      run suites and guests with the kernel'"'"'s IOMMU layer, and with the core in its place'
	@echo '                        (FILTER=iommufd)'
	@echo '  make native-calls     which functions of the core these suites call, compared with the document'
	@echo '  make bench            measure page tables and whole paths, in C and ours, on the stock kernel'
	@echo '  make lint             rustfmt, clippy, files that may have unsafe, arrows between files, licence lines, shellcheck;'
	@echo '                        clippy also builds the kernels of make kunit, make kernel and make native for it'
	@echo '  make arrows           list files that import each other in a circle, or from a layer above'
	@echo '                        (tools/ic arrows <file>: what a file imports, and what imports it)'
	@echo '  make fmt              format the Rust sources'
	@echo
	@echo 'KERNEL=<which>          a series (7.2), a release (7.2.12+deb13-amd64) or a suite (forky, sid) of Debian'
	@echo '                        (default: the newest supported kernel; tools/config/series.toml)'
	@echo 'MIRROR=<address>        the Debian archive (default: from the apt configuration)'
	@echo 'JOBS=<n>                parallel jobs (default: one per processor)'
	@echo 'Downloads and builds are kept in $${XDG_CACHE_HOME:-~/.cache}/iommu_core (tools/ic cache list).'
