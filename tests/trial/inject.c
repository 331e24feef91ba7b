// inject WHO N WHAT REPORT COMMAND...
//
// Runs COMMAND and hits the Nth system call of its own process (WHO "own") or of what it starts, counted together
// ("others"), with WHAT: a signal (15), or an errno that it fails with (-5). REPORT is a file for one line: how many
// calls its own process and the others made, and the number of the call that was hit, or -1. Ends with COMMAND and as
// COMMAND did; what lives on is let go of.
//
// strace(1) counts each name by itself, can't tell the executor from who starts it, and stays until all have ended.
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers are those of x86_64"
#endif
#define REGISTER(name) ((void *)offsetof(struct user, regs.name))
#define EVENTS (PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)

// A process that is traced. `depth`: how often a process was made on the way to it.
static struct tracee { pid_t pid; int depth, in_call, replace; } tracees[1024];
static long counts[2], nth, what, hit = -1;
static int others, executed;

static struct tracee *find(pid_t pid)
{
    for (int i = 0; i < 1024; i++)
        if (tracees[i].pid == pid)
            return &tracees[i];
    return NULL;
}

static struct tracee *adopt(pid_t pid, int depth)
{
    struct tracee *t = find(pid);
    if (!t && (t = find(0)))
        *t = (struct tracee){.pid = pid};
    if (!t)
        abort();
    t->depth = depth;
    return t;
}

// Neither of these can fail, and who is told that they did has nowhere to go.
static int can_fail(long call)
{
    return call != SYS_exit && call != SYS_exit_group && call != SYS_rt_sigreturn;
}

static void enter(struct tracee *t)
{
    int kind = t->depth > 0;
    if (!executed || ++counts[kind] != nth || kind != others || hit >= 0)
        return;
    long call = ptrace(PTRACE_PEEKUSER, t->pid, REGISTER(orig_rax), 0);
    if (what < 0 && !can_fail(call))
        return;
    hit = call;
    if (what > 0) {
        syscall(SYS_tgkill, t->pid, t->pid, what);
        return;
    }
    t->replace = 1;
    if (call != SYS_close)  // whatever close says, the descriptor is gone (close(2))
        ptrace(PTRACE_POKEUSER, t->pid, REGISTER(orig_rax), -1L);
}

static void leave(struct tracee *t)
{
    if (t->replace)
        ptrace(PTRACE_POKEUSER, t->pid, REGISTER(rax), what);
    t->replace = 0;
}

static void stopped(struct tracee *t, int status)
{
    int number = WSTOPSIG(status), event = status >> 16;
    unsigned long born;
    if (event == PTRACE_EVENT_STOP && number != SIGTRAP) {
        ptrace(PTRACE_LISTEN, t->pid, 0, 0);
        return;
    }
    if (event == PTRACE_EVENT_EXEC) {
        t->in_call = 1;
        executed = 1;
    }
    // What is executed by those that the executor has made is no part of the runtime.
    if (event == PTRACE_EVENT_EXEC && t->depth > 1) {
        ptrace(PTRACE_DETACH, t->pid, 0, 0);
        t->pid = 0;
        return;
    }
    if ((event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) &&
        !ptrace(PTRACE_GETEVENTMSG, t->pid, 0, &born))
        adopt(born, t->depth + 1);
    if (number == (SIGTRAP | 0x80)) {
        if ((t->in_call = !t->in_call))
            enter(t);
        else
            leave(t);
    }
    int passed = event || number == (SIGTRAP | 0x80) ? 0 : number;
    ptrace(PTRACE_SYSCALL, t->pid, 0, (long)passed);
}

static pid_t start(char **command)
{
    int gate[2];
    char byte;
    if (pipe(gate))
        abort();
    pid_t pid = fork();
    if (!pid) {
        close(gate[1]);
        if (read(gate[0], &byte, 1))
            _exit(125);
        close(gate[0]);
        execv(command[0], command);
        _exit(127);
    }
    close(gate[0]);
    // Stopped, for only who was stopped can be told to show its calls.
    int status;
    if (ptrace(PTRACE_SEIZE, pid, 0, EVENTS | PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, pid, 0, 0) ||
        waitpid(pid, &status, __WALL) != pid)
        abort();
    adopt(pid, 0);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    close(gate[1]);
    return pid;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    others = !strcmp(argv[1], "others");
    nth = atol(argv[2]);
    what = atol(argv[3]);
    FILE *report = fopen(argv[4], "w");
    if (!report)
        return 2;
    pid_t command = start(argv + 5), pid;
    int status;
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFSTOPPED(status)) {
            stopped(adopt(pid, find(pid) ? find(pid)->depth : 1), status);
            continue;
        }
        struct tracee *t = find(pid);
        if (t)
            t->pid = 0;
        if (pid == command)
            break;
    }
    fprintf(report, "%ld %ld %ld\n", counts[0], counts[1], hit);
    fclose(report);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return WEXITSTATUS(status);
}
