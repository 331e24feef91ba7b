/*
 * The executor: runs a program of system calls, and decides nothing.
 *
 * Python (runtime/machine/program.py) compiles a bundle to a list of instructions; this file is the only code of the
 * runtime that ever runs inside a container.  It has no libc, no heap and no strings but its own error records,
 * so that what sits in the container's memory cgroup before execve is a few pages.
 *
 * A program is one file: struct header, then instructions, then data.  All of it is validated before the first
 * instruction runs.  Jumps only go forward, a routine calls no other and stands behind all of its callers, and nothing
 * jumps into or out of one: so every program ends.
 */
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

enum { REGISTERS = 240, PASS = 239, PARAMETERS = 233, NONE = 0xff, MAX_DATA = 1 << 22, ERROR_TEXT = 512 };
enum { MAGIC = 0x4e525950 /* "PYRN" */, VERSION = 5, NO_FD = 0xffffffff, ERROR = 0xffffffff };
enum { SYSCALL, STORE, LOAD, BRANCH, SAY, AWAIT, FAIL, CHANNEL, MOVE, LEAVE, CALL, RETURN, OPCODES };
enum { IMMEDIATE, DATA, REGISTER, KINDS };

struct header {
	u32 magic;
	u16 version;
	u16 count;
	u32 data_size;
	u32 channel;	/* the fd on which SAY, AWAIT and errors go until a CHANNEL instruction changes it */
	u32 trace;	/* an fd of PROCESSES * steps * sizeof(struct step) bytes for what is done, or NO_FD */
	u32 steps;	/* as many as one process can take */
	u32 routines;	/* the instruction from which on all belong to routines */
	u32 reserved;
	u64 pass;	/* a random number that lets this program's own calls through its seccomp filter: see exchange() */
};

struct rule {
	u16 error;
	u16 target;
};

struct instruction {
	u8 op;
	u8 destination;	/* register, or NONE */
	u8 log;		/* register with the fs context whose log explains an error, or NONE */
	u8 retries;	/* how often EAGAIN or EINTR starts the call again */
	u16 kinds;	/* two bits an operand */
	u16 number;	/* system call, SAY and AWAIT code, STORE and LOAD width, LEAVE signal, BRANCH: 1 = when different */
	struct rule rules[3];
	u32 reserved;
	u64 operands[6];
};

/* With trace, one for each instruction that was executed, in order; each process has a part of its own. */
struct step {
	u32 index;
	u32 caller;	/* in a routine: the call that it goes back to, counted from 1 */
	s64 result;
	u64 began;	/* CLOCK_REALTIME, the one clock that is the same in every time namespace; 0: unknown */
};
enum { PROCESSES = 3 };	/* the one on the host, the intermediate one, and init */

struct message {
	u32 code;
	u32 index;
	s64 value;
	char text[ERROR_TEXT];
};
enum { MESSAGE_HEAD = 16 };

#include SYSTEM

static u64 registers[REGISTERS];	/* the last one holds the pass from the start */
static u32 channel;
static struct step *step, *last, *trace_end;	/* the next one or 0; the end of this process's part, of all */
static int untimed;

/* Talk with the runtime, or leave, whatever the seccomp profile forbids: the filter lets a few calls through whose sixth
 * operand, which the kernel ignores, is the pass (runtime/plan/seccomp.py).  They are calls that programs make rarely,
 * since the kernel can't cache the verdict for a call whose operands are looked at. */
static s64 exchange(u64 number, u64 fd, void *buffer, u64 size)
{
	u64 vector[2] = { (u64)(uintptr_t)buffer, size };

	return sys(number, fd, (u64)(uintptr_t)vector, 1, 0, 0, registers[PASS]);
}

static void leave(int status)
{
	quit(status, registers[PASS]);
}

static void on_signal(int number)
{
	leave(128 + number);
}

/* The first process of a pid namespace gets no signal that it has not asked for.  execve undoes it. */
static void leave_on(u32 number)
{
	/* struct sigaction of the kernel; on x86_64 it delivers nothing without a restorer, to which we never return. */
	u64 action[4] = { (u64)(uintptr_t)on_signal, 0x04000000 /* SA_RESTORER */, (u64)(uintptr_t)on_signal, 0 };

	sys(NR_rt_sigaction, number, (u64)(uintptr_t)action, 0, 8, 0, 0);
}

static u64 operand(const struct instruction *in, int i, const u8 *data)
{
	switch (in->kinds >> 2 * i & 3) {
	case DATA:
		return (u64)(uintptr_t)(data + in->operands[i]);
	case REGISTER:
		return registers[in->operands[i]];
	default:
		return in->operands[i];
	}
}

static int valid(const struct instruction *in, u32 index, const struct header *h)
{
	u64 width = in->number;
	u32 end;

	if (in->op >= OPCODES || (in->destination != NONE && in->destination >= REGISTERS) ||
	    (in->log != NONE && in->log >= REGISTERS) || in->kinds >> 12)
		return 0;
	for (int i = 0; i < 6; i++) {
		u32 kind = in->kinds >> 2 * i & 3;
		if (kind >= KINDS || (kind == REGISTER && in->operands[i] >= REGISTERS) ||
		    (kind == DATA && in->operands[i] > h->data_size))
			return 0;
	}
	end = index < h->routines ? h->routines : h->count;
	if (in->op == CALL)
		return index < h->routines && in->rules[0].target >= h->routines && in->rules[0].target < h->count;
	for (int i = 0; i < 3; i++)
		if (in->rules[i].error && (in->rules[i].target <= index || in->rules[i].target > end))
			return 0;
	switch (in->op) {
	case STORE:
	case LOAD:
		return (width == 1 || width == 2 || width == 4 || width == 8) && (in->kinds & 3) == DATA &&
		       in->operands[0] + width <= h->data_size && (in->op == STORE || in->destination != NONE);
	case BRANCH:
		return in->number <= 1 && in->rules[0].error;
	case MOVE:
		return in->destination != NONE;
	case RETURN:
		return index >= h->routines;
	case FAIL:
		return in->number > 0;
	case LEAVE:
		return in->number > 0 && in->number < 65;
	default:
		return 1;
	}
}

static void send(struct message *m, u32 length)
{
	/* Whoever started us is gone when this fails: nobody is left to act for. */
	if (exchange(NR_writev, channel, m, length) < 0)
		leave(1);
}

/* Report what failed, in a routine also for which call (counted from 1), and, where a file system context has something to say, its words; then wait to be let go, so
 * that the other side can still look at this process. */
static void fail(u32 index, u64 caller, s64 error, u64 log)
{
	static struct message m;
	u32 length = 0;
	s64 n;

	m.code = ERROR;
	m.index = index;
	m.value = error | caller << 32;
	if (log != NONE)
		for (int i = 0; i < 16 && length < ERROR_TEXT; i++) {
			n = sys(NR_read, registers[log], (u64)(uintptr_t)(m.text + length), ERROR_TEXT - length, 0, 0, 0);
			if (n <= 0 || n > ERROR_TEXT - length)
				break;
			length += n;
		}
	send(&m, MESSAGE_HEAD + length);
	exchange(NR_readv, channel, &m, MESSAGE_HEAD);
	leave(1);
}

static void store(u8 *at, u64 value, u32 width)
{
	for (u32 i = 0; i < width; i++)
		at[i] = value >> 8 * i;
}

static u64 load(const u8 *at, u32 width)
{
	u64 value = 0;

	for (u32 i = 0; i < width; i++)
		value |= (u64)at[i] << 8 * i;
	return value;
}

static void begin(u32 index, u32 caller)
{
	if (step == last)
		step = 0;
	if (!step)
		return;
	step->index = index;
	step->caller = caller;
	/* Once there is a filter, to ask for the time may be death. */
	step->began = untimed ? 0 : now();
}

static void end(const struct instruction *in, s64 result, u32 steps)
{
	if (!step)
		return;
	step++->result = result;
	if (in->op != SYSCALL)
		return;
	if (in->number == NR_seccomp)
		untimed = 1;
	if (!result && (in->number == NR_clone || in->number == NR_clone3)) {
		/* Memory that is shared: from here on the child writes to the part after its parent's. */
		step = last == trace_end ? 0 : last;
		last += step ? steps : 0;
	}
}

static s64 call(const struct instruction *in, const u8 *data)
{
	s64 result;
	u32 tries = 0;

	do
		result = sys(in->number, operand(in, 0, data), operand(in, 1, data), operand(in, 2, data),
			     operand(in, 3, data), operand(in, 4, data), operand(in, 5, data));
	while ((result == -11 /* EAGAIN */ || result == -4 /* EINTR */) && tries++ < in->retries);
	return result;
}

static void run(const struct header *h, const struct instruction *code, u8 *data)
{
	static struct message m;
	u32 back = 0;	/* in a routine: where it returns to */

	for (u32 i = 0; i < (back ? h->count : h->routines);) {
		const struct instruction *in = &code[i];
		u32 next = i + 1;
		u64 value = 0;
		s64 result;

		begin(i, back);
		switch (in->op) {
		case SYSCALL:
			result = call(in, data);
			value = result;
			if (result < 0 && result >= -4095) {
				next = 0;
				for (int r = 0; r < 3; r++)
					if (in->rules[r].error == -result || in->rules[r].error == 0xffff)
						next = in->rules[r].target;
				if (!next) {
					end(in, result, h->steps);
					fail(i, back, -result, in->log);
				}
			}
			break;
		case STORE:
			store(data + in->operands[0], operand(in, 1, data), in->number);
			break;
		case LOAD:
			value = load(data + in->operands[0], in->number);
			break;
		case BRANCH:
			if (((operand(in, 0, data) & operand(in, 1, data)) == operand(in, 2, data)) == !in->number)
				next = in->rules[0].target;
			break;
		case SAY:
			m.code = in->number;
			m.index = i;
			m.value = operand(in, 0, data);
			send(&m, MESSAGE_HEAD);
			break;
		case AWAIT:
			/* End of file: the runtime has ended.  What is half made must not live on. */
			result = exchange(NR_readv, channel, &m, MESSAGE_HEAD);
			if (result != MESSAGE_HEAD || m.code != in->number)
				leave(1);
			value = m.value;
			break;
		case FAIL:
			end(in, -(s64)in->number, h->steps);
			fail(i, back, in->number, NONE);
			break;
		case CHANNEL:
			channel = operand(in, 0, data);
			break;
		case MOVE:
			value = operand(in, 0, data);
			break;
		case LEAVE:
			leave_on(in->number);
			break;
		case CALL:
			for (int p = 0; p < 6; p++)
				registers[PARAMETERS + p] = operand(in, p, data);
			end(in, 0, h->steps);
			back = next;
			i = in->rules[0].target;
			continue;
		case RETURN:
			value = operand(in, 0, data);
			next = back;
			in = &code[back - 1];
			back = 0;
			break;
		}
		end(in, value, h->steps);
		if (in->destination != NONE)
			registers[in->destination] = value;
		i = next;
	}
	leave(0);
}

static void execute(u8 *program, u64 size)
{
	struct header *h = (struct header *)program;
	struct instruction *code = (struct instruction *)(h + 1);

	if (size < sizeof(*h) || h->magic != MAGIC || h->version != VERSION || h->data_size > MAX_DATA ||
	    h->routines > h->count || size != sizeof(*h) + h->count * sizeof(*code) + h->data_size)
		leave(2);
	for (u32 i = 0; i < h->count; i++)
		if (!valid(&code[i], i, h))
			leave(2);
	channel = h->channel;
	registers[PASS] = h->pass;
	if (h->trace != NO_FD) {
		step = map(h->trace, (u64)PROCESSES * h->steps * sizeof(*step), 1);
		last = step + h->steps;
		trace_end = step + PROCESSES * h->steps;
	}
	run(h, code, (u8 *)(code + h->count));
}
