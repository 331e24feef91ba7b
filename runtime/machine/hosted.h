/* The executor as an ordinary program whose system calls are made up: for sanitizers and random programs.
 * `hosted FILE SEED` runs the program in FILE; every call answers with a number or an errno drawn from SEED. */
#include <stdio.h>
#include <stdlib.h>

enum { NR_read, NR_readv, NR_writev, NR_rt_sigaction, NR_clone, NR_clone3, NR_seccomp };

static u64 seed;

static u64 draw(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return seed >> 33;
}

static s64 sys(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	u64 n = draw();

	(void)number, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	return n % 4 ? (s64)(n % 64) : -(s64)(n % 134 + 1);
}

static void quit(int status, u64 pass)
{
	(void)pass;
	exit(status);
}

static u64 now(void)
{
	return 1;
}

static void *map(u32 fd, u64 size, int shared)
{
	void *at = calloc(1, size ? size : 1);

	(void)fd, (void)shared;
	if (!at)
		quit(3, 0);
	return at;
}

static void execute(u8 *program, u64 size);

int main(int argc, char **argv)
{
	FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
	u64 size;
	u8 *program;

	if (!file || fseek(file, 0, SEEK_END))
		return 3;
	size = ftell(file);
	rewind(file);
	/* Exactly as large as the file, so that a read past its end is seen. */
	program = malloc(size ? size : 1);
	if (!program || fread(program, 1, size, file) != size)
		return 3;
	fclose(file);
	seed = strtoul(argv[2], NULL, 10);
	execute(program, size);
	return 0;
}
