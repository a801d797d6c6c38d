// SPDX-License-Identifier: GPL-2.0
/*
 * Drives PCI devices from user space through VFIO's type 1 interface. Each line
 * on standard input is a command. The program answers with one line on standard
 * output:
 *
 *	ok [value...]		the command worked
 *	error ERRNO text	the command failed; ERRNO is a symbol such as EBUSY
 *
 * Commands give names to objects. Numbers are decimal, or hexadecimal with 0x.
 * "help" lists the commands. The program retries nothing, and undoes nothing
 * after a failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices.h"
#include "memory.h"

#define MAX_WORDS	12

/* The text of the answer after "ok". */
static char answer[256];

static int number(const char *word, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(word, &end, 0);
	if (errno || end == word || *end || word[0] == '-')
		return -EINVAL;
	return 0;
}

/* The @length bytes at @offset of a named buffer. */
static int bytes_of(char **words, uint8_t **bytes, uint64_t *length)
{
	struct buffer *buffer = buffer_find(words[0]);
	uint64_t offset;

	if (!buffer)
		return -ENOENT;
	if (number(words[1], &offset) || number(words[2], length))
		return -EINVAL;
	if (offset > buffer->length || *length > buffer->length - offset)
		return -ERANGE;
	*bytes = buffer->start + offset;
	return 0;
}

static int map_flags(const char *word, uint32_t *flags)
{
	*flags = 0;
	for (; *word; word++) {
		if (*word == 'r')
			*flags |= VFIO_DMA_MAP_FLAG_READ;
		else if (*word == 'w')
			*flags |= VFIO_DMA_MAP_FLAG_WRITE;
		else if (*word != '-')
			return -EINVAL;
	}
	return 0;
}

static int do_container(char **words)
{
	return container_open(words[1]);
}

static int do_iommufd(char **words)
{
	return container_open_iommufd(words[1]);
}

static int do_close_container(char **words)
{
	return container_close(words[1]);
}

static int do_set_iommu(char **words)
{
	unsigned long type;

	if (!strcmp(words[2], "type1"))
		type = VFIO_TYPE1_IOMMU;
	else if (!strcmp(words[2], "type1v2"))
		type = VFIO_TYPE1v2_IOMMU;
	else
		return -EINVAL;
	return container_set_iommu(words[1], type);
}

static int do_group(char **words)
{
	uint64_t group;
	int viable;

	if (number(words[2], &group))
		return -EINVAL;
	viable = group_open(words[1], (unsigned int)group);
	if (viable < 0)
		return viable;
	snprintf(answer, sizeof(answer), "%s", viable ? "viable" : "not-viable");
	return 0;
}

static int do_close_group(char **words)
{
	return group_close(words[1]);
}

static int do_set_container(char **words)
{
	return group_set_container(words[1], words[2]);
}

static int do_unset_container(char **words)
{
	return group_unset_container(words[1]);
}

static int do_device(char **words)
{
	static const struct device_kind *const kinds[] = {
		&device_kind_edu, &device_kind_nvme, &device_kind_testdev,
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(words[4], kinds[i]->name))
			return device_open(words[1], words[2], words[3], kinds[i]);
	return -EINVAL;
}

static int do_close_device(char **words)
{
	return device_close(words[1]);
}

static int do_reset_device(char **words)
{
	return device_reset(words[1]);
}

static int do_buffer(char **words)
{
	uint64_t length;

	if (number(words[2], &length))
		return -EINVAL;
	return buffer_alloc(words[1], length);
}

static int do_free_buffer(char **words)
{
	return buffer_free(words[1]);
}

/* Answers with the address of a buffer in this program, for map-raw. */
static int do_where(char **words)
{
	struct buffer *buffer = buffer_find(words[1]);

	if (!buffer)
		return -ENOENT;
	snprintf(answer, sizeof(answer), "%p", (void *)buffer->start);
	return 0;
}

/* Answers with the physical address of a byte of a buffer. */
static int do_physical(char **words)
{
	struct buffer *buffer = buffer_find(words[1]);
	uint64_t offset, address;

	if (!buffer)
		return -ENOENT;
	if (number(words[2], &offset) || offset >= buffer->length)
		return -EINVAL;
	address = physical_address(buffer->start + offset);
	if (!address)
		return -EFAULT;
	snprintf(answer, sizeof(answer), "%#llx", (unsigned long long)address);
	return 0;
}

static int do_fill(char **words)
{
	uint64_t length, seed;
	uint8_t *bytes;
	int ret = bytes_of(&words[1], &bytes, &length);

	if (ret || (ret = number(words[4], &seed)))
		return ret;
	pattern_fill(bytes, length, (uint32_t)seed);
	return 0;
}

static int do_check(char **words)
{
	uint64_t length, seed;
	uint8_t *bytes;
	long where;
	int ret = bytes_of(&words[1], &bytes, &length);

	if (ret || (ret = number(words[4], &seed)))
		return ret;
	where = pattern_check(bytes, length, (uint32_t)seed);
	if (where < 0)
		snprintf(answer, sizeof(answer), "match");
	else
		snprintf(answer, sizeof(answer), "differ at %ld", where);
	return 0;
}

static int do_hex(char **words)
{
	uint64_t length;
	uint8_t *bytes;
	int ret = bytes_of(&words[1], &bytes, &length);

	if (ret)
		return ret;
	if (2 * length >= sizeof(answer))
		return -ERANGE;
	for (uint64_t i = 0; i < length; i++)
		sprintf(answer + 2 * i, "%02x", bytes[i]);
	return 0;
}

static int do_map(char **words)
{
	int container = container_fd(words[1]);
	uint64_t length, iova;
	uint32_t flags;
	uint8_t *bytes;
	int ret;

	if (container < 0)
		return container;
	ret = bytes_of(&words[2], &bytes, &length);
	if (ret || (ret = number(words[5], &iova)) || (ret = map_flags(words[6], &flags)))
		return ret;
	return dma_map(container, (uintptr_t)bytes, iova, length, flags);
}

static int do_map_raw(char **words)
{
	int container = container_fd(words[1]);
	uint64_t vaddr, iova, size, flags;

	if (container < 0)
		return container;
	if (number(words[2], &vaddr) || number(words[3], &iova) || number(words[4], &size) ||
	    number(words[5], &flags))
		return -EINVAL;
	return dma_map(container, vaddr, iova, size, (uint32_t)flags);
}

static int do_unmap(char **words)
{
	int container = container_fd(words[1]);
	uint64_t iova, size, unmapped;
	int ret;

	if (container < 0)
		return container;
	if (number(words[2], &iova) || number(words[3], &size))
		return -EINVAL;
	ret = dma_unmap(container, iova, size, 0, &unmapped);
	if (!ret)
		snprintf(answer, sizeof(answer), "%llu", (unsigned long long)unmapped);
	return ret;
}

static int do_unmap_all(char **words)
{
	int container = container_fd(words[1]);
	uint64_t unmapped;

	if (container < 0)
		return container;
	return dma_unmap(container, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL, &unmapped);
}

/* What the guest's counter counts: nanoseconds, or instructions where it is made so. */
static uint64_t counter(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	uint64_t frequency, count;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(count) : : "memory");
	return count * (1000000000 / frequency);
#endif
}

/*
 * Maps the pages of a buffer one by one from an address on, and unmaps them, some times. Answers
 * with the counts for one map and one unmap in the best round.
 */
static int do_cost(char **words)
{
	int container = container_fd(words[1]), ret = 0;
	struct buffer *buffer = buffer_find(words[2]);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), best[2] = { UINT64_MAX, UINT64_MAX };
	uint64_t iova, pages, took;

	if (container < 0)
		return container;
	if (!buffer || buffer->length < page)
		return -ENOENT;
	if (number(words[3], &iova))
		return -EINVAL;
	pages = buffer->length / page;
	for (int round = 0; round < 4 && !ret; round++) {
		took = counter();
		for (uint64_t i = 0; i < pages && !ret; i++)
			ret = dma_map(container, (uintptr_t)buffer->start + i * page, iova + i * page,
				      page, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
		took = counter() - took;
		if (took < best[0])
			best[0] = took;
		took = counter();
		for (uint64_t i = 0; i < pages && !ret; i++) {
			uint64_t unmapped;

			ret = dma_unmap(container, iova + i * page, page, 0, &unmapped);
			if (!ret && unmapped != page)
				ret = -EIO;
		}
		took = counter() - took;
		if (took < best[1])
			best[1] = took;
	}
	snprintf(answer, sizeof(answer), "%llu %llu", (unsigned long long)((best[0] + pages / 2) / pages),
		 (unsigned long long)((best[1] + pages / 2) / pages));
	return ret;
}

static int do_page_sizes(char **words)
{
	struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };
	int container = container_fd(words[1]);

	if (container < 0)
		return container;
	if (ioctl(container, VFIO_IOMMU_GET_INFO, &info))
		return -errno;
	snprintf(answer, sizeof(answer), "%#llx", (unsigned long long)info.iova_pgsizes);
	return 0;
}

/* Answers with the address ranges that VFIO allows to map, as "first-last". */
static int do_ranges(char **words)
{
	union {
		struct vfio_iommu_type1_info info;
		char bytes[4096];
	} reply = { .info = { .argsz = sizeof(reply) } };
	int container = container_fd(words[1]);
	const struct vfio_info_cap_header *header;
	size_t used = 0;

	if (container < 0)
		return container;
	if (ioctl(container, VFIO_IOMMU_GET_INFO, &reply.info))
		return -errno;
	for (uint32_t at = reply.info.cap_offset; at; at = header->next) {
		const struct vfio_iommu_type1_info_cap_iova_range *ranges;

		header = (const void *)(reply.bytes + at);
		if (header->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		ranges = (const void *)header;
		for (uint32_t i = 0; i < ranges->nr_iovas && used < sizeof(answer); i++)
			used += (size_t)snprintf(answer + used, sizeof(answer) - used,
						 "%s%#llx-%#llx", i ? " " : "",
						 (unsigned long long)ranges->iova_ranges[i].start,
						 (unsigned long long)ranges->iova_ranges[i].end);
	}
	return 0;
}

static int do_edu_copy(char **words)
{
	struct device *device = device_find(words[1]);
	uint64_t from, to, length;
	int ret;

	if (!device)
		return -ENOENT;
	if (number(words[2], &from) || number(words[3], &to) || number(words[4], &length))
		return -EINVAL;
	ret = edu_read(device, from, (uint32_t)length);
	if (ret)
		return ret;
	return edu_write(device, to, (uint32_t)length);
}

static int do_edu_write(char **words)
{
	struct device *device = device_find(words[1]);
	uint64_t to, length;

	if (!device)
		return -ENOENT;
	if (number(words[2], &to) || number(words[3], &length))
		return -EINVAL;
	return edu_write(device, to, (uint32_t)length);
}

static int do_edu_interrupts(char **words)
{
	struct device *device = device_find(words[1]);
	uint64_t count, arrived;
	int ret;

	if (!device)
		return -ENOENT;
	if (number(words[2], &count) || count > UINT32_MAX)
		return -EINVAL;
	ret = edu_interrupts(device, (unsigned int)count, &arrived);
	if (!ret)
		snprintf(answer, sizeof(answer), "arrived %llu", (unsigned long long)arrived);
	return ret;
}

static int do_vectors(char **words)
{
	struct device *device = device_find(words[1]);
	uint64_t count;

	if (!device)
		return -ENOENT;
	if (number(words[2], &count) || count > 4096)
		return -EINVAL;
	return device_set_vectors(device, (unsigned int)count);
}

static int do_nvme_start(char **words)
{
	struct device *device = device_find(words[1]);
	struct buffer *queues = buffer_find(words[2]);
	uint64_t iova;

	if (!device || !queues)
		return -ENOENT;
	if (number(words[3], &iova) || queues->length < 8192)
		return -EINVAL;
	return nvme_start(device, queues->start, iova);
}

static int do_nvme_identify(char **words)
{
	struct device *device = device_find(words[1]);
	uint16_t status;
	uint64_t to;
	int ret;

	if (!device)
		return -ENOENT;
	if (number(words[2], &to))
		return -EINVAL;
	ret = nvme_identify(device, to, &status);
	if (!ret)
		snprintf(answer, sizeof(answer), "status %#x", status);
	return ret;
}

static int do_nvme_stop(char **words)
{
	struct device *device = device_find(words[1]);

	return device ? nvme_stop(device) : -ENOENT;
}

static int do_testdev_run(char **words)
{
	struct device *device = device_find(words[1]);
	uint64_t to, length, physical;
	uint32_t result;
	uint8_t *bytes;
	int ret;

	if (!device)
		return -ENOENT;
	if (number(words[2], &to))
		return -EINVAL;
	ret = bytes_of(&words[3], &bytes, &length);
	if (ret)
		return ret;
	physical = physical_address(bytes);
	if (!physical)
		return -EFAULT;
	ret = testdev_run(device, to, physical, (uint32_t)length, &result);
	if (!ret)
		snprintf(answer, sizeof(answer), "result %#x", result);
	return ret;
}

static int do_help(char **words);
static int do_fail_nth(char **words);

static const struct {
	const char *name;
	int (*run)(char **words);
	const char *arguments;
} commands[] = {
	{ "container", do_container, "NAME" },
	{ "iommufd", do_iommufd, "NAME" },
	{ "close-container", do_close_container, "NAME" },
	{ "set-iommu", do_set_iommu, "CONTAINER type1|type1v2" },
	{ "group", do_group, "NAME NUMBER" },
	{ "close-group", do_close_group, "NAME" },
	{ "set-container", do_set_container, "GROUP CONTAINER" },
	{ "unset-container", do_unset_container, "GROUP" },
	{ "device", do_device, "NAME GROUP PCI-ADDRESS edu|nvme|testdev" },
	{ "close-device", do_close_device, "NAME" },
	{ "reset-device", do_reset_device, "NAME" },
	{ "buffer", do_buffer, "NAME LENGTH" },
	{ "free-buffer", do_free_buffer, "NAME" },
	{ "where", do_where, "BUFFER" },
	{ "physical", do_physical, "BUFFER OFFSET" },
	{ "fill", do_fill, "BUFFER OFFSET LENGTH SEED" },
	{ "check", do_check, "BUFFER OFFSET LENGTH SEED" },
	{ "hex", do_hex, "BUFFER OFFSET LENGTH" },
	{ "map", do_map, "CONTAINER BUFFER OFFSET LENGTH IOVA r|w|rw" },
	{ "map-raw", do_map_raw, "CONTAINER VADDR IOVA LENGTH FLAGS" },
	{ "unmap", do_unmap, "CONTAINER IOVA LENGTH" },
	{ "unmap-all", do_unmap_all, "CONTAINER" },
	{ "cost", do_cost, "CONTAINER BUFFER IOVA" },
	{ "page-sizes", do_page_sizes, "CONTAINER" },
	{ "ranges", do_ranges, "CONTAINER" },
	{ "edu-copy", do_edu_copy, "DEVICE FROM-IOVA TO-IOVA LENGTH" },
	{ "edu-write", do_edu_write, "DEVICE TO-IOVA LENGTH" },
	{ "edu-interrupts", do_edu_interrupts, "DEVICE COUNT" },
	{ "vectors", do_vectors, "DEVICE COUNT" },
	{ "nvme-start", do_nvme_start, "DEVICE BUFFER IOVA" },
	{ "nvme-identify", do_nvme_identify, "DEVICE TO-IOVA" },
	{ "nvme-stop", do_nvme_stop, "DEVICE" },
	{ "testdev-run", do_testdev_run, "DEVICE TO-IOVA BUFFER OFFSET LENGTH" },
	{ "fail-nth", do_fail_nth, "N COMMAND..." },
	{ "help", do_help, "" },
};

#define COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static void list_commands(FILE *out)
{
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "%-16s %s\n", commands[i].name, commands[i].arguments);
	fprintf(out, "%-16s\n", "quit");
}

/* Standard output has one line for each command. */
static int do_help(char **words)
{
	(void)words;
	list_commands(stderr);
	return 0;
}

static int count_words(const char *text)
{
	int count = 0;

	for (int in_word = 0; *text; text++) {
		if (*text != ' ' && !in_word)
			count++;
		in_word = *text != ' ';
	}
	return count;
}

static int run_words(char **words, int count)
{
	if (!count)
		return -EINVAL;
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(words[0], commands[i].name))
			continue;
		if (!strstr(commands[i].arguments, "...") &&
		    count - 1 != count_words(commands[i].arguments)) {
			fprintf(stderr, "usage: %s %s\n", words[0], commands[i].arguments);
			return -EINVAL;
		}
		return commands[i].run(words);
	}
	return -ENOSYS;
}

static int run(char *line)
{
	char *words[MAX_WORDS + 1] = { NULL };
	int count = 0;

	for (char *word = strtok(line, " \t\n"); word; word = strtok(NULL, " \t\n")) {
		if (count == MAX_WORDS)
			return -E2BIG;
		words[count++] = word;
	}
	return run_words(words, count);
}

/*
 * Runs a command while the kernel fails its Nth allocation for this program
 * (the kernel's Documentation/fault-injection/fault-injection.rst). Answers
 * "hit" if there were at least N allocations, otherwise "missed".
 */
static int do_fail_nth(char **words)
{
	int fd, count = 0, ret;
	char left[16] = "";
	uint64_t nth;

	if (!words[1] || number(words[1], &nth))
		return -EINVAL;
	while (words[2 + count])
		count++;
	fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, words[1], strlen(words[1])) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	ret = run_words(words + 2, count);
	/* The rest of N. It is 0 if an allocation has failed. */
	if (pread(fd, left, sizeof(left) - 1, 0) < 0 || pwrite(fd, "0", 1, 0) < 0)
		ret = ret ? ret : -EIO;
	close(fd);
	if (!ret)
		snprintf(answer, sizeof(answer), "%s", atoi(left) ? "missed" : "hit");
	return ret;
}

int main(int argc, char **argv)
{
	char line[512];

	/* Commands come on standard input, not as arguments. */
	if (argc > 1) {
		int asked = !strcmp(argv[1], "help") || !strcmp(argv[1], "--help");
		FILE *out = asked ? stdout : stderr;

		fprintf(out, "vfio-user: one command a line on standard input:\n");
		list_commands(out);
		return asked ? 0 : 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int ret;

		if (!strcmp(line, "quit\n"))
			break;
		answer[0] = '\0';
		ret = run(line);
		if (ret < 0)
			printf("error %s %s\n", strerrorname_np(-ret), strerror(-ret));
		else
			printf("ok%s%s\n", answer[0] ? " " : "", answer);
	}
	return 0;
}
