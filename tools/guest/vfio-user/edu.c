// SPDX-License-Identifier: GPL-2.0
/* QEMU's educational device; its registers are in QEMU's docs/specs/edu.rst. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices.h"
#include "registers.h"

#define EDU_IDENTIFICATION	0x00
#define EDU_INTERRUPT_RAISE	0x60
#define EDU_INTERRUPT_ACKNOWLEDGE	0x64
#define EDU_DMA_SOURCE		0x80
#define EDU_DMA_DESTINATION	0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_COMMAND		0x98
#define EDU_DMA_RUN		0x1
#define EDU_DMA_TO_MEMORY	0x2

/* The address of the device's buffer, for its DMA registers, and the buffer's size. */
#define EDU_BUFFER		0x40000
#define EDU_BUFFER_LENGTH	4096

const struct device_kind device_kind_edu = {
	.name = "edu",
	.bar_length = 4096,
};

static int edu_dma(struct device *device, uint64_t source, uint64_t destination,
		   uint32_t length, uint32_t direction)
{
	unsigned int tries = 5000;

	if (device->kind != &device_kind_edu)
		return -ENODEV;
	if (!length || length > EDU_BUFFER_LENGTH)
		return -EINVAL;
	/* 0xRRrr00ed. Otherwise it is another device, or it was unplugged. */
	if ((read32(device, EDU_IDENTIFICATION) & 0xffff) != 0x00ed)
		return -ENXIO;
	write64(device, EDU_DMA_SOURCE, source);
	write64(device, EDU_DMA_DESTINATION, destination);
	write64(device, EDU_DMA_COUNT, length);
	write64(device, EDU_DMA_COMMAND, EDU_DMA_RUN | direction);
	while (read64(device, EDU_DMA_COMMAND) & EDU_DMA_RUN)
		if (!poll_again(&tries))
			return -ETIMEDOUT;
	return 0;
}

int edu_read(struct device *device, uint64_t from, uint32_t length)
{
	return edu_dma(device, from, EDU_BUFFER, length, 0);
}

int edu_write(struct device *device, uint64_t to, uint32_t length)
{
	return edu_dma(device, EDU_BUFFER, to, length, EDU_DMA_TO_MEMORY);
}

int edu_interrupts(struct device *device, unsigned int count, uint64_t *arrived)
{
	const int patience = 5000, stray = 100;
	struct pollfd event = { .events = POLLIN };
	uint64_t more;
	int ret;

	*arrived = 0;
	if (device->kind != &device_kind_edu)
		return -ENODEV;
	event.fd = eventfd(0, EFD_CLOEXEC);
	if (event.fd < 0)
		return -errno;
	ret = device_set_msi(device, event.fd);
	if (ret)
		goto out;
	/* After the last one nothing should arrive. */
	for (unsigned int raised = 0; raised <= count; raised++) {
		if (raised < count)
			write32(device, EDU_INTERRUPT_RAISE, 1);
		ret = poll(&event, 1, raised < count ? patience : stray);
		if (ret < 0 || (ret && read(event.fd, &more, sizeof(more)) < 0)) {
			ret = -errno;
			break;
		}
		*arrived += ret ? more : 0;
		write32(device, EDU_INTERRUPT_ACKNOWLEDGE, 1);
		ret = 0;
	}
	device_set_msi(device, -1);
out:
	close(event.fd);
	return ret;
}
