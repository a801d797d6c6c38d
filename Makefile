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
export MIRROR JOBS

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
	@rm -rf tests/host/target

.PHONY: rust-metadata
rust-metadata:
	@test -e $(KDIR)/rust/libkernel.rmeta || { \
	 if test -d $(KDIR)/; then \
	  echo "$(KDIR): no Rust metadata (rust/libkernel.rmeta), so no Rust module can be built there."; \
	 else \
	  echo "$(KDIR): no such kernel build folder."; \
	 fi; \
	 echo "Debian's linux-headers packages come without it. Either"; \
	 echo "  make build            builds iommu_core.ko for Debian's stock kernel (fetches all it needs), or"; \
	 echo "  make KDIR=<folder>    with a kernel tree that has CONFIG_RUST=y and was built or 'modules_prepare'd."; \
	 exit 1; } >&2

# --- everything else goes through tools/ic ---------------------------------------------------

.PHONY: setup build install uninstall run test shell kunit host-test firmware-test fuzz mutants compile-fail lint arrows fmt kernel bench native native-test native-calls
setup build install uninstall run test shell kunit host-test firmware-test fuzz mutants compile-fail lint arrows fmt kernel bench native native-test native-calls: | python
	@$(IC) $@ $(IC_ARGS)

kunit: IC_ARGS = $(if $(FILTER),--filter '$(FILTER)')
setup: IC_ARGS = $(if $(UPDATE),--update) $(if $(ARCH),--arch '$(ARCH)')
build install: IC_ARGS = $(if $(ARCH),--arch '$(ARCH)')
firmware-test: IC_ARGS = $(if $(TABLES),--tables '$(abspath $(TABLES))')
fuzz: IC_ARGS = $(if $(TABLES),--tables '$(abspath $(TABLES))') $(if $(SECONDS),--seconds '$(SECONDS)')
run shell: IC_ARGS = $(if $(VIOMMU),--iommu '$(VIOMMU)')
native: IC_ARGS = $(if $(VIOMMU),--iommu '$(VIOMMU)') $(if $(ARCH),--arch '$(ARCH)')
mutants native-test native-calls: IC_ARGS = $(if $(FILTER),--filter '$(FILTER)')

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
	@echo '                        (VIOMMU=vtd: Intel VT-d, the default; amdvi: AMD-Vi; smmuv3: Arm SMMUv3)'
	@echo '  make test             every test of the module; ends with N passed, N failed, N skipped'
	@echo '  make shell            an interactive guest with the module loaded (VIOMMU= as for run)'
	@echo '  make build            build iommu_core.ko and print where it is (ARCH=amd64, arm64)'
	@echo '  make install          install that module on this machine (it must run that kernel), or below the root of'
	@echo '                        another machine: INSTALL_MOD_PATH=<root> ARCH=arm64'
	@echo '  make uninstall        remove what make install has installed'
	@echo '  make setup            only download the toolchain, the kernel and QEMU (UPDATE=1: newer versions; ARCH=)'
	@echo '  make kunit            KUnit suites on User-mode Linux (FILTER=iommu_core_group*)'
	@echo '  make host-test        tests of pure code with cargo'
	@echo '  make firmware-test    compare our parsers of firmware tables with iasl (TABLES=<folder>: its tables)'
	@echo '  make fuzz             fuzz these parsers and the decoders of records (TABLES=<folder>: tables to start'
	@echo '                        from; SECONDS=<n>: for each target)'
	@echo '  make mutants          break laws and rules on purpose, one at a time: a test has to fail (FILTER="law 8")'
	@echo '  make compile-fail     check that code which must not compile does not'
	@echo '  make kernel           the custom x86-64 kernel with the suites and the debug options'
	@echo '  make native           build a kernel whose IOMMU layer is the core, boot it in a guest, show it at'
	@echo '                        work (VIOMMU= as for run, ARCH=; Documentation/native.md)'
	@echo '  make native-test      run suites and guests with the kernel'"'"'s IOMMU layer, and with the core in its place'
	@echo '                        (FILTER=iommufd)'
	@echo '  make native-calls     which functions of the core these suites call, compared with the document'
	@echo '  make bench            measure the page tables in C and ours, in one boot of the stock kernel'
	@echo '  make lint             rustfmt, clippy, files that may have unsafe, arrows between files, licence lines'
	@echo '  make arrows           list files that import each other in a circle, or from a layer above'
	@echo '                        (tools/ic arrows <file>: what a file imports, and what imports it)'
	@echo '  make fmt              format the Rust sources'
	@echo
	@echo 'MIRROR=<address>        the Debian archive (default: from the apt configuration)'
	@echo 'JOBS=<n>                parallel jobs (default: one per processor)'
	@echo 'Downloads and builds are kept in $${XDG_CACHE_HOME:-~/.cache}/iommu_core (tools/ic cache list).'
