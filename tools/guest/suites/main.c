// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of a guest that only runs test programs: the programs in
 * /suites that suites=A,B on the kernel's command line names, one after the
 * other. Their output goes to the console. This program prints a line before
 * and after the output of each:
 *
 *	suite A: begins
 *	suite A: exit 0		(or: signal 11)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void mount_at(const char *kind, const char *where, const char *options)
{
	/* mkdir() fails if the folder exists. After any other failure mount() fails too. */
	mkdir(where, 0755);
	if (mount(kind, where, kind, 0, options) && errno != EBUSY)
		printf("mount %s: %s\n", where, strerror(errno));
}

static void run(const char *name)
{
	char path[256];
	char *argv[] = { path, NULL };
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/suites/%s", name);
	printf("suite %s: begins\n", name);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		execv(path, argv);
		printf("%s: %s\n", path, strerror(errno));
		fflush(stdout);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		printf("suite %s: cannot be started: %s\n", name, strerror(errno));
	else if (WIFSIGNALED(status))
		printf("suite %s: signal %d\n", name, WTERMSIG(status));
	else
		printf("suite %s: exit %d\n", name, WEXITSTATUS(status));
	fflush(stdout);
}

int main(void)
{
	static char line[8192];
	char *names, *name, *rest;
	ssize_t length;
	int fd;

	mount_at("proc", "/proc", NULL);
	mount_at("sysfs", "/sys", NULL);
	mount_at("debugfs", "/sys/kernel/debug", NULL);
	mount_at("devtmpfs", "/dev", NULL);
	mount_at("tmpfs", "/tmp", NULL);

	fd = open("/proc/cmdline", O_RDONLY);
	length = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (length > 0) {
		line[strcspn(line, "\n")] = '\0';
		names = strstr(line, "suites=");
		if (names) {
			names += strlen("suites=");
			names[strcspn(names, " ")] = '\0';
			for (name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
				run(name);
		}
	}
	printf("suites: all ended\n");
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
