// SPDX-License-Identifier: GPL-2.0
/*
 * Plays a device that does DMA where nobody told it to: makes QEMU's
 * iommu-testdev write to a page of this program, by its physical address, over
 * and over, whatever driver the device has or has not.
 *
 *	dma-probe PCI-ADDRESS
 *
 * Prints a line each time when that starts or stops to work: "reached N" or
 * "blocked N", N being the number of attempts so far. The kernel has to be
 * started with iomem=relaxed, or it takes the registers away once a driver is
 * bound.
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
		errx(1, "the page is not there");
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

		/* Drivers that come and go turn these off. */
		if (pwrite(config, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
			err(1, "config");
		*page = 0;
		registers[TESTDEV_IOVA_LOW / 4] = (uint32_t)physical;
		registers[TESTDEV_IOVA_HIGH / 4] = (uint32_t)(physical >> 32);
		registers[TESTDEV_LENGTH / 4] = sizeof(*page);
		registers[TESTDEV_DOORBELL / 4] = 1;
		/* The page is memory, the rest a device: processors may order them anew. */
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
