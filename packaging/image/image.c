/* The start-up image: CPython with pyrun's modules loaded, as one executable.
 *
 * `engine build SCRIPT OUT ARGS...` begins Python, runs SCRIPT (train.py), which imports and trains what the hot verbs need,
 * and writes the whole of Python's memory into a copy of this executable, OUT. The copy resumes there: a start is execve,
 * some page faults, and a call of what SCRIPT has called `entry`.
 *
 * Python's memory is the section `pydata`: build.py puts into it the data of Python's own objects, and all that they
 * allocate comes from `heap` below. libc's data, the stack and the thread are not in it: they are new at each start. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_pystate.h>
#include <internal/pycore_runtime.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_IMAGE __attribute__((section("pydata")))
#define HEAP (16 << 20)
#define CLASSES 40
#define WORDS 16
#define RANGES 200
#define PAGE 4096
#define POOL (16 << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

extern char __start_pydata[], __stop_pydata[];
extern char **environ;

static void die(const char *what) {
    dprintf(2, "pyrun: start-up image: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* --- memory: from `heap` until the image is written, in blocks of powers of two with their class in front; then libc's */

struct block {
    struct block *next;
};
union head {
    int class;
    char room[16];
};

static IN_IMAGE char heap[HEAP] __attribute__((aligned(PAGE))) = {1};
static IN_IMAGE char *top = heap + PAGE;
static IN_IMAGE struct block *unused[CLASSES] = {0};
static IN_IMAGE int written = 0;

static int in_heap(const void *at) {
    return (const char *)at >= heap && (const char *)at < heap + HEAP;
}

static void *take(size_t size, size_t align) {
    char *at = (char *)(((size_t)top + align - 1) & ~(align - 1));
    if (size > (size_t)(heap + HEAP - at)) return 0;
    top = at + size;
    return at;
}

void *image_malloc(size_t size) {
    if (written) return malloc(size);
    int class = 5;
    while (((size_t)1 << class) < size + sizeof(union head)) class++;
    struct block *found = unused[class];
    if (found)
        unused[class] = found->next;
    else if (!(found = take((size_t)1 << class, sizeof(union head))))
        return 0;
    ((union head *)found)->class = class;
    return (union head *)found + 1;
}

void *image_calloc(size_t count, size_t size) {
    size_t whole;
    if (written) return calloc(count, size);
    if (__builtin_mul_overflow(count, size, &whole)) return 0;
    void *found = image_malloc(whole);
    return found ? memset(found, 0, whole) : 0;
}

/* What is of the image is not used again after a start: a command is short. */
void image_free(void *at) {
    if (!in_heap(at)) {
        free(at);
    } else if (!written) {
        union head *head = (union head *)at - 1;
        int class = head->class;
        ((struct block *)head)->next = unused[class];
        unused[class] = (struct block *)head;
    }
}

void *image_realloc(void *at, size_t size) {
    if (!at) return image_malloc(size);
    if (!in_heap(at)) return realloc(at, size);
    size_t room = ((size_t)1 << ((union head *)at - 1)->class) - sizeof(union head);
    if (size <= room) return at;
    void *found = image_malloc(size);
    if (!found) return 0;
    memcpy(found, at, room);
    image_free(at);
    return found;
}

/* For the arenas of obmalloc.c */
void *image_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (written) return mmap(at, size, protection, flags, fd, offset);
    void *found = take(size, PAGE);
    return found ? found : MAP_FAILED; /* never used before, so zero */
}

int image_munmap(void *at, size_t size) {
    return in_heap(at) ? 0 : munmap(at, size);
}

/* --- what the script leaves */

static IN_IMAGE PyThreadState *thread = 0;
static IN_IMAGE PyObject *entry = 0, *set_signal = 0, *environment = 0;
/* The executable for all command lines but those of a hot verb */
static IN_IMAGE char plain[PAGE] = {0};
static IN_IMAGE char hot[WORDS][24] = {{0}};
/* The pages that each of these verbs writes to, which build.py has measured and puts here; while it measures, `report` is
 * where a start says at its end what it has written to. */
static IN_IMAGE struct {
    char mark[16];
    int report;
    struct {
        unsigned first, count;
    } ranges[WORDS][RANGES];
} pages = {"pyrun: pages", -1, {{{0, 0}}}};

/* --- a start */

/* Which of the hot words comes first, or -1. That it may be an option's value does no harm: the image can execute whatever
 * the launcher can, only that it has not all of it in memory. */
static int find_verb(char **argv) {
    for (argv++; *argv; argv++) {
        if (!strcmp(*argv, "--debug")) break;
        for (int i = 0; i < WORDS && *hot[i]; i++)
            if (!strcmp(*argv, hot[i])) return i;
    }
    return -1;
}

static int set_list(const char *name, int argc, char **argv) {
    PyObject *list = PyList_New(argc);
    if (!list) return -1;
    for (int i = 0; i < argc; i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(argv[i]);
        if (!word) return -1;
        PyList_SET_ITEM(list, i, word);
    }
    return PySys_SetObject(name, list);
}

/* posix.environ is what it was at build, and others refer to it: it is filled anew. */
static int set_environment(void) {
    for (char **at = environ; *at; at++) {
        char *equals = strchr(*at, '=');
        if (!equals) continue;
        PyObject *name = PyBytes_FromStringAndSize(*at, equals - *at), *value = PyBytes_FromString(equals + 1);
        if (!name || !value || !PyDict_SetDefault(environment, name, value)) return -1;
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return 0;
}

/* _signal remembers what it has found at its beginning: what our caller ignores is ignored. */
static int set_signals(void) {
    struct sigaction action;
    signal(SIGPIPE, SIG_IGN); /* as Python does */
    signal(SIGXFSZ, SIG_IGN);
    for (int number = 1; number < NSIG; number++) {
        if (sigaction(number, 0, &action) || action.sa_handler != SIG_IGN) continue;
        PyObject *done = PyObject_CallFunction(set_signal, "ii", number, 1);
        if (!done) return -1;
        Py_DECREF(done);
    }
    return 0;
}

static int set_thread(void) {
    Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;
    key->_is_initialized = 0;
    if (PyThread_tss_create(key) || PyThread_tss_set(key, thread)) return -1;
    _PyRuntime.main_thread = thread->thread_id = PyThread_get_thread_ident();
    thread->native_thread_id = PyThread_get_thread_native_id();
    return 0;
}

static char *first_page(void) {
    return __start_pydata - (size_t)__start_pydata % PAGE;
}

/* Says, of each page of pydata, a byte: whether it has been written to, and so is not the file's any more
 * (Documentation/admin-guide/mm/pagemap.rst). In place of posix._exit. */
void image_exit(int code) {
    if (pages.report < 0) _exit(code);
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (char *page = first_page(); page < __stop_pydata; page += PAGE) {
        unsigned long bits;
        if (pread(map, &bits, sizeof bits, (size_t)page / PAGE * sizeof bits) != sizeof bits) die("pagemap");
        char own = bits >> 63 & 1 && !(bits >> 61 & 1);
        if (write(pages.report, &own, 1) != 1) die("report");
    }
    _exit(code);
}

static int resume(int argc, char **argv) {
    int verb = find_verb(argv);
    if (verb < 0) {
        execv(plain, argv);
        die(plain);
    }
    /* One call in place of a fault for each page; before Linux 5.14 there is none, and faults will do. */
    for (int i = 0; i < RANGES && pages.ranges[verb][i].count; i++)
        if (madvise(first_page() + (size_t)pages.ranges[verb][i].first * PAGE,
                    (size_t)pages.ranges[verb][i].count * PAGE, MADV_POPULATE_WRITE))
            break;
    if (set_thread()) die("thread");
    if (set_list("argv", argc, argv) || set_list("orig_argv", argc, argv) || set_environment() || set_signals() ||
        !PyObject_CallNoArgs(entry))
        PyErr_Print();
    return 1;
}

/* --- the build */

static int write_whole(int fd, const char *from, size_t size, off_t at) {
    while (size) {
        ssize_t done = pwrite(fd, from, size, at);
        if (done < 0) return -1;
        from += done, size -= done, at += done;
    }
    return 0;
}

static void write_image(const char *path) {
    int out = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0755), self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (out < 0 || self < 0 || fstat(self, &stat)) die(path);
    char *content = mmap(0, stat.st_size, PROT_READ, MAP_PRIVATE, self, 0);
    if (content == MAP_FAILED || write_whole(out, content, stat.st_size, 0)) die(path);
    size_t begin = (size_t)__start_pydata, size = __stop_pydata - __start_pydata;
    const Elf64_Ehdr *file = (void *)content;
    for (int i = 0; i < file->e_phnum; i++) {
        const Elf64_Phdr *part = (void *)(content + file->e_phoff + i * sizeof *part);
        if (part->p_type != PT_LOAD || begin < part->p_vaddr || begin + size > part->p_vaddr + part->p_filesz) continue;
        written = 1;
        if (write_whole(out, __start_pydata, size, part->p_offset + begin - part->p_vaddr)) die(path);
        return;
    }
    errno = ENOEXEC;
    die("no segment holds pydata");
}

static PyObject *checked(PyObject *found) {
    if (!found) {
        PyErr_Print();
        exit(1);
    }
    return found;
}

/* What the script has left as `name`: a string, of at most `most` bytes. */
static void copy_string(char *to, PyObject *from, size_t most) {
    const char *text = PyUnicode_AsUTF8(from);
    if (!text || strlen(text) >= most) {
        errno = ENAMETOOLONG;
        die(text ? text : "what the script leaves");
    }
    strcpy(to, text);
}

static void take_results(PyObject *script) {
    entry = checked(PyObject_GetAttrString(script, "entry"));
    set_signal = checked(PyObject_GetAttrString(checked(PyImport_ImportModule("_signal")), "signal"));
    environment = checked(PyObject_GetAttrString(checked(PyImport_ImportModule("posix")), "environ"));
    PyDict_Clear(environment);
    copy_string(plain, checked(PyObject_GetAttrString(script, "plain")), sizeof plain);
    PyObject *words = checked(PyObject_GetAttrString(script, "hot"));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(words) && i < WORDS; i++)
        copy_string(hot[i], PyList_GET_ITEM(words, i), sizeof hot[i]);
}

/* obmalloc.c gives out the holes in its pools first, and each would be a page more that a start writes to. Filled, new
 * objects lie together in new pools. */
static void fill_holes(void) {
    for (size_t size = 16; size <= 512; size += 16)
        for (int i = 0; i < 1 << 16; i++) {
            char *found = PyObject_Malloc(size);
            if (!found || (size_t)found % POOL < 64) break; /* the first of a pool, after its header */
        }
}

static int build(int argc, char **argv) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    config.parse_argv = 0;
    if (PyStatus_Exception(Py_PreInitialize(&before)) ||
        PyStatus_Exception(PyConfig_SetBytesString(&config, &config.program_name, PYTHON)) ||
        PyStatus_Exception(PyConfig_SetBytesArgv(&config, argc - 4, argv + 4)) ||
        PyStatus_Exception(Py_InitializeFromConfig(&config)))
        return 1;
    FILE *script = fopen(argv[2], "r");
    if (!script) die(argv[2]);
    if (PyRun_SimpleFileExFlags(script, argv[2], 1, 0)) return 1;
    take_results(checked(PyImport_AddModule("__main__")));
    thread = PyThreadState_Get();
    fill_holes();
    write_image(argv[3]);
    _exit(0);
}

int main(int argc, char **argv) {
    if (written) return resume(argc, argv);
    if (argc > 3 && !strcmp(argv[1], "build")) return build(argc, argv);
    dprintf(2, "usage: engine build SCRIPT OUT ARGS...\n");
    return 2;
}
