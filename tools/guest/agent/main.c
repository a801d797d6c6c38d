// SPDX-License-Identifier: GPL-2.0
/*
 * Runs commands in a guest for the host. The host sends requests on a serial
 * port, one on each line. The agent serves them one after the other.
 *
 *	ID sh COMMAND		runs a shell command
 *	ID start NAME COMMAND	starts a shell command as program NAME
 *	ID say NAME COUNT TEXT	sends TEXT to the program's input, and returns the
 *				next COUNT lines of its output
 *	ID end NAME TEXT	sends TEXT, and waits until the program ends
 *	ID kill NAME		kills the program
 *	ID stop			stops the request that is served; has no reply
 *
 * In a line \n stands for a line feed and \\ for a backslash. The agent answers
 * each request with this line and LENGTH bytes of output:
 *
 *	reply ID STATUS LENGTH
 *
 * STATUS is the exit status as a shell counts it: 137 if the command was
 * stopped. Only the host knows how much time a request had: on a busy host the
 * guest's clock goes on while the guest stands still. The agent starts no other
 * processes, because this takes long in an emulated machine.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define KILLED		(128 + SIGKILL)
#define NO_SUCH		127

/* A program of a "start" request, and the pipes to its input and output. */
struct program {
	struct program *next;
	char *name;
	pid_t pid;
	int in;
	int out;
};

static struct program *programs;

/* The serial port, and a file in memory with the output of the request. */
static int line_fd;
static int output_fd;

/*
 * Waits until @fd can be read. Returns false if the host stops the request
 * first: it sends nothing else meanwhile.
 */
static int readable(int fd)
{
	struct pollfd fds[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = line_fd, .events = POLLIN },
	};

	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR)
			err(1, "poll");
	return fds[0].revents != 0;
}

static void write_all(int fd, const char *bytes, size_t count)
{
	while (count) {
		ssize_t done = write(fd, bytes, count);

		/* The program has ended. The caller finds out. */
		if (done < 0 && errno != EINTR)
			return;
		if (done > 0) {
			bytes += done;
			count -= (size_t)done;
		}
	}
}

static void note(const char *text)
{
	write_all(output_fd, text, strlen(text));
}

static void reply(const char *id, int status)
{
	char bytes[4096];
	struct stat stat;
	ssize_t count;
	off_t at = 0;

	/* Later output, of a process in the background, is not sent. */
	if (fstat(output_fd, &stat))
		err(1, "the output");
	dprintf(line_fd, "reply %s %d %lld\n", id, status, (long long)stat.st_size);
	while (at < stat.st_size) {
		size_t most = sizeof(bytes);

		if (stat.st_size - at < (off_t)most)
			most = (size_t)(stat.st_size - at);
		count = pread(output_fd, bytes, most, at);
		if (count <= 0)
			errx(1, "the output got shorter");
		write_all(line_fd, bytes, (size_t)count);
		at += count;
	}
	close(output_fd);
}

/* Starts a child that runs a shell command in its own process group. */
static pid_t shell(const char *command, int in, int out, int error)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(error, STDERR_FILENO);
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(NO_SUCH);
}

/* Waits for a child, whose process group a stop kills. Returns the status. */
static int status_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int status;

	if (fd < 0)
		err(1, "pidfd_open");
	if (!readable(fd)) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
	}
	close(fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(1, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int do_shell(const char *command)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pid_t pid = shell(command, null, output_fd, output_fd);

	close(null);
	if (pid < 0) {
		note(strerror(errno));
		return NO_SUCH;
	}
	return status_of(pid);
}

static int do_start(const char *name, const char *command)
{
	struct program *program = calloc(1, sizeof(*program));
	int in[2], out[2];

	if (!program || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		err(1, "no memory for %s", name);
	program->name = strdup(name);
	program->pid = shell(command, in[0], out[1], STDERR_FILENO);
	program->in = in[1];
	program->out = out[0];
	close(in[0]);
	close(out[1]);
	program->next = programs;
	programs = program;
	return program->pid < 0 ? NO_SUCH : 0;
}

/* Sends @text to a program, and copies the next @count lines of its output. */
static int do_say(struct program *program, const char *text, long count)
{
	char bytes[4096];

	write_all(program->in, text, strlen(text));
	while (count > 0) {
		ssize_t got;

		if (!readable(program->out))
			return KILLED;
		got = read(program->out, bytes, sizeof(bytes));
		if (got <= 0) {
			note("the program has ended\n");
			return 1;
		}
		write_all(output_fd, bytes, (size_t)got);
		for (ssize_t i = 0; i < got; i++)
			count -= bytes[i] == '\n';
	}
	return 0;
}

static int do_end(struct program *program, const char *text)
{
	int status;

	write_all(program->in, text, strlen(text));
	status = status_of(program->pid);
	for (struct program **at = &programs; *at; at = &(*at)->next) {
		if (*at == program) {
			*at = program->next;
			break;
		}
	}
	close(program->in);
	close(program->out);
	free(program->name);
	free(program);
	return status;
}

/* Removes the first word of *@text and returns it. */
static char *word(char **text)
{
	char *found = strsep(text, " ");

	return found ? found : "";
}

static int request(const char *verb, char *text)
{
	struct program *program = programs;
	const char *name;

	if (!strcmp(verb, "sh"))
		return do_shell(text);
	name = word(&text);
	if (!text)
		text = "";
	if (!strcmp(verb, "start"))
		return do_start(name, text);
	while (program && strcmp(program->name, name))
		program = program->next;
	if (!program) {
		note("no such program\n");
		return NO_SUCH;
	}
	if (!strcmp(verb, "say")) {
		const long count = atol(word(&text));

		return do_say(program, text ? text : "", count);
	}
	if (!strcmp(verb, "end"))
		return do_end(program, text);
	if (!strcmp(verb, "kill")) {
		kill(program->pid, SIGKILL);
		do_end(program, "");
		return 0;
	}
	note("no such request\n");
	return NO_SUCH;
}

static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '\\' && text[1]) {
			text++;
			*to++ = *text == 'n' ? '\n' : *text;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

int main(int argc, char **argv)
{
	struct termios mode;
	size_t size = 0;
	char *line = NULL;
	FILE *lines;

	if (argc != 2)
		errx(2, "usage: agent SERIAL-PORT");
	/* A write to a program that has ended must not kill the agent. */
	signal(SIGPIPE, SIG_IGN);
	line_fd = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line_fd < 0 || tcgetattr(line_fd, &mode))
		err(1, "%s", argv[1]);
	cfmakeraw(&mode);
	if (tcsetattr(line_fd, TCSANOW, &mode))
		err(1, "%s", argv[1]);
	lines = fdopen(fcntl(line_fd, F_DUPFD_CLOEXEC, 0), "r");
	if (!lines)
		err(1, "%s", argv[1]);
	dprintf(line_fd, "ready\n");
	while (getline(&line, &size, lines) > 0) {
		char *text = line;
		const char *id, *verb;

		line[strcspn(line, "\n")] = '\0';
		id = word(&text);
		verb = word(&text);
		if (!strcmp(verb, "stop"))
			continue;
		if (!text)
			text = "";
		unescape(text);
		output_fd = memfd_create("output", MFD_CLOEXEC);
		if (output_fd < 0)
			err(1, "memfd_create");
		reply(id, request(verb, text));
	}
	return 0;
}
