// SPDX-License-Identifier: GPL-2.0
/* The part of an NVMe driver that one admin command needs (NVMe base specification 2.0). */
#include <errno.h>
#include <string.h>

#include "devices.h"
#include "registers.h"

/* 3.1.3: controller properties. */
#define NVME_CC		0x14
#define NVME_CSTS	0x1c
#define NVME_AQA	0x24
#define NVME_ASQ	0x28
#define NVME_ACQ	0x30
#define NVME_SQ0TDBL	0x1000
#define NVME_CQ0HDBL	0x1004

#define CC_ENABLE	0x1
/* I/O submission entries of 2^6 and completion entries of 2^4 bytes. */
#define CC_ENTRY_SIZES	(6u << 16 | 4u << 20)
#define CSTS_READY	0x1
#define CSTS_FATAL	0x2

#define QUEUE_ENTRIES	16
#define QUEUE_LENGTH	4096
#define OPCODE_IDENTIFY	0x06
#define CNS_CONTROLLER	0x01

/* 3.3.3.1: common command format. */
struct command {
	uint8_t opcode;
	uint8_t flags;
	uint16_t id;
	uint32_t namespace;
	uint32_t cdw2[2];
	uint64_t metadata;
	uint64_t prp[2];
	uint32_t cdw10[6];
};

/* 3.3.3.2: common completion entry. */
struct completion {
	uint32_t result[2];
	uint16_t head;
	uint16_t queue;
	uint16_t id;
	uint16_t status;	/* bit 0: phase */
};

_Static_assert(sizeof(struct command) == 64, "a submission entry has 64 bytes");
_Static_assert(sizeof(struct completion) == 16, "a completion entry has 16 bytes");

const struct device_kind device_kind_nvme = {
	.name = "nvme",
	.bar_length = 0x2000,
};

static int wait_ready(struct device *device, uint32_t ready)
{
	unsigned int tries = 5000;

	while ((read32(device, NVME_CSTS) & CSTS_READY) != ready) {
		if (read32(device, NVME_CSTS) & CSTS_FATAL)
			return -EIO;
		if (!poll_again(&tries))
			return -ETIMEDOUT;
	}
	return 0;
}

int nvme_stop(struct device *device)
{
	if (device->kind != &device_kind_nvme)
		return -ENODEV;
	write32(device, NVME_CC, 0);
	device->queues = NULL;
	return wait_ready(device, 0);
}

int nvme_start(struct device *device, uint8_t *queues, uint64_t iova)
{
	int ret = nvme_stop(device);

	if (ret)
		return ret;
	memset(queues, 0, 2 * QUEUE_LENGTH);
	write32(device, NVME_AQA, (QUEUE_ENTRIES - 1) << 16 | (QUEUE_ENTRIES - 1));
	write64(device, NVME_ASQ, iova);
	write64(device, NVME_ACQ, iova + QUEUE_LENGTH);
	write32(device, NVME_CC, CC_ENTRY_SIZES | CC_ENABLE);
	ret = wait_ready(device, CSTS_READY);
	if (ret)
		return ret;
	device->queues = queues;
	device->tail = 0;
	return 0;
}

int nvme_identify(struct device *device, uint64_t to, uint16_t *status)
{
	volatile struct completion *done;
	struct command *command;
	unsigned int slot, tries = 5000;
	uint16_t phase;

	if (device->kind != &device_kind_nvme)
		return -ENODEV;
	if (!device->queues)
		return -ESHUTDOWN;

	slot = device->tail % QUEUE_ENTRIES;
	/* The phase bit is 1 in the first pass over the queue, and changes with each pass. */
	phase = !(device->tail / QUEUE_ENTRIES % 2);
	command = (struct command *)device->queues + slot;
	done = (volatile struct completion *)(device->queues + QUEUE_LENGTH) + slot;

	memset(command, 0, sizeof(*command));
	command->opcode = OPCODE_IDENTIFY;
	command->id = device->tail;
	command->prp[0] = to;
	command->cdw10[0] = CNS_CONTROLLER;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);

	device->tail++;
	write32(device, NVME_SQ0TDBL, device->tail % QUEUE_ENTRIES);
	while ((done->status & 1) != phase) {
		if (read32(device, NVME_CSTS) & CSTS_FATAL)
			return -EIO;
		if (!poll_again(&tries))
			return -ETIMEDOUT;
	}
	*status = done->status >> 1;
	write32(device, NVME_CQ0HDBL, device->tail % QUEUE_ENTRIES);
	return 0;
}
