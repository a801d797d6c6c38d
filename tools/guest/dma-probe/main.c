// SPDX-License-Identifier: GPL-2.0
/*
 * Lets QEMU's iommu-testdev write to a page of this program by its physical
 * address, again and again, although no driver has mapped the page for it. The
 * device may have any driver, or none.
 *
 *	dma-probe PCI-ADDRESS
 *
 * Prints "reached N" when a write reaches the page and the one before did not,
 * and "blocked N" in the other case. N is the number of writes so far. The
 * kernel needs the parameter iomem=relaxed: without it the kernel denies access
 * to the registers while a driver is bound.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Registers: QEMU's docs/specs/iommu-testdev.rst. */
#define TESTDEV_TRIGGER		0x00
#define TESTDEV_IOVA_LOW	0x04
#define TESTDEV_IOVA_HIGH	0x08
#define TESTDEV_LENGTH		0x0c
#define TESTDEV_DOORBELL	0x14
#define TESTDEV_PATTERN		0x12345678u

#define PAGE	4096

static uint64_t physical_address(const volatile void *address)
{
	const uint64_t virt = (uint64_t)(uintptr_t)address;
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		err(1, "pagemap");
	if (pread(fd, &entry, sizeof(entry), (off_t)(virt / PAGE * sizeof(entry))) != sizeof(entry))
		err(1, "pagemap");
	close(fd);
	if (!(entry >> 63))
		errx(1, "the page is not in memory");
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

static int open_of(const char *address, const char *file)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, file);
	fd = open(path, O_RDWR | O_SYNC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

int main(int argc, char **argv)
{
	volatile uint32_t *registers, *page;
	unsigned long attempts = 0;
	int config, reached = -1;
	uint64_t physical;

	if (argc != 2)
		errx(2, "usage: dma-probe PCI-ADDRESS");
	setvbuf(stdout, NULL, _IOLBF, 0);
	config = open_of(argv[1], "config");
	registers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 open_of(argv[1], "resource0"), 0);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
	if (registers == MAP_FAILED || page == MAP_FAILED)
		err(1, "mmap");
	*page = 0;
	physical = physical_address(page);

	for (;;) {
		const uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
		int now;

		/* A driver switches these off when it is bound or unbound. */
		if (pwrite(config, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
			err(1, "config");
		*page = 0;
		registers[TESTDEV_IOVA_LOW / 4] = (uint32_t)physical;
		registers[TESTDEV_IOVA_HIGH / 4] = (uint32_t)(physical >> 32);
		registers[TESTDEV_LENGTH / 4] = sizeof(*page);
		registers[TESTDEV_DOORBELL / 4] = 1;
		/* Orders the accesses to the page and to the device's registers. */
		__sync_synchronize();
		(void)registers[TESTDEV_TRIGGER / 4];
		__sync_synchronize();
		now = *page == TESTDEV_PATTERN;
		attempts++;
		if (now != reached)
			printf("%s %lu\n", now ? "reached" : "blocked", attempts);
		reached = now;
	}
}
