/* PID 1 of a container: watches /proc for processes that come, and reports what it can reach through them.
 *
 * usage: watcher CANARY SECONDS [MOST]    CANARY: a path on the host that leads to a file;
 * MOST: it ends when it has seen so many
 * Prints one word a finding, each once: root, cwd, fd (the host can be reached through them), attach (a process that is
 * still the runtime's, with more than we have, can be stopped by ptrace), getfd, and "seen N" at the end. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *canary;
static struct stat own;
static char said[16][128];

static void say(const char *what, const char *detail)
{
	char line[128];

	snprintf(line, sizeof(line), "%s %s", what, detail);
	for (int i = 0; i < 16; i++) {
		if (!strcmp(said[i], line))
			return;
		if (!*said[i]) {
			strcpy(said[i], line);
			printf("%s\n", line);
			fflush(stdout);
			return;
		}
	}
}

static void look(int pid, const char *name)
{
	char path[512];
	struct stat found;

	snprintf(path, sizeof(path), "/proc/%d/%s%s", pid, name, canary);
	if (!access(path, F_OK))
		say(name, "the canary");
	snprintf(path, sizeof(path), "/proc/%d/%s/", pid, name);
	if (!stat(path, &found) && !strcmp(name, "root") && (found.st_dev != own.st_dev || found.st_ino != own.st_ino))
		say(name, "another root");
}

static void descriptors(int pid)
{
	char path[512], link[256];
	struct stat found;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	if (!(dir = opendir(path)))
		return;
	while ((entry = readdir(dir))) {
		if (*entry->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, entry->d_name);
		ssize_t n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		if (!stat(path, &found) && found.st_dev != own.st_dev &&
		    (S_ISDIR(found.st_mode) || (S_ISREG(found.st_mode) && strcmp(entry->d_name, "0") &&
						strcmp(entry->d_name, "1") && strcmp(entry->d_name, "2"))))
			say("fd", link);
	}
	closedir(dir);
}

static unsigned long long number(int pid, const char *name)
{
	char path[64], line[256];
	unsigned long long value = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = strtoull(line + strlen(name) + 1, NULL, strcmp(name, "Seccomp") ? 16 : 10);
	if (file)
		fclose(file);
	return value;
}

static void attach(int pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		return;
	if (!ptrace(PTRACE_INTERRUPT, pid, 0, 0) && waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		if (number(pid, "CapPrm") & ~number(getpid(), "CapPrm"))
			say("attach", "more capabilities");
		if (number(pid, "Seccomp") != number(getpid(), "Seccomp"))
			say("attach", "no filter");
		look(pid, "root");
		look(pid, "cwd");
		descriptors(pid);
	}
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void getfd(int pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);

	for (int n = 3; pidfd >= 0 && n < 16; n++) {
		int fd = syscall(SYS_pidfd_getfd, pidfd, n, 0);
		struct stat found;
		if (fd >= 0 && !fstat(fd, &found) && S_ISDIR(found.st_mode) && found.st_dev != own.st_dev)
			say("getfd", "a directory");
		if (fd >= 0)
			close(fd);
	}
	if (pidfd >= 0)
		close(pidfd);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	double end = now() + atof(argv[2]);
	int seen = 0, last = 0, most = argc > 3 ? atoi(argv[3]) : 1 << 30;

	canary = argv[1];
	stat("/", &own);
	while (now() < end && seen < most) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;

		while ((entry = readdir(dir))) {
			int pid = atoi(entry->d_name);

			if (pid <= 1 || pid == getpid())
				continue;
			if (pid > last) {
				last = pid;
				seen++;
			}
			for (int again = 0; again < 3; again++) {
				look(pid, "root");
				look(pid, "cwd");
				descriptors(pid);
			}
			getfd(pid);
			if (seen % 2)
				attach(pid);
		}
		closedir(dir);
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
	}
	printf("seen %d\n", seen);
	return 0;
}
