/* The start-up image: CPython with pyrun's modules loaded, as one executable.
 *
 * `engine build SCRIPT OUT SEED HEAT ARGS...` begins Python, runs SCRIPT (train.py), which imports and trains what the hot
 * verbs need, and writes the whole of Python's memory into a copy of this executable, OUT. The copy resumes there: a start is
 * execve, some page faults, and a call of what SCRIPT has called `entry`. SEED is for the hashes of strings. HEAT is a file
 * with a byte for each allocation, in their order: which area it belongs to. Which allocation each place is of is written to
 * OUT.owners, by which build.py makes HEAT for the second build: a start pays for each page that it writes to, so what is
 * written to shall lie together.
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
#include <ucontext.h>
#include <unistd.h>

#define IN_IMAGE __attribute__((section("pydata")))
#define HEAP (20 << 20)
#define UNIT 16
#define SMALL 64 /* classes of so many units at most; then powers of two */
#define CLASSES (SMALL + 24)
#define WORDS 16
#define RANGES 200
#define PAGE 4096

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

extern char __start_pydata[], __stop_pydata[];
extern char **environ;
extern PyObject *PyInit__pyrun_pack(void), *PyInit__pyrun_json(void); /* pack.c, json.c */

static void die(const char *what) {
    dprintf(2, "pyrun: start-up image: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static char *first_page(void) {
    return __start_pydata - (size_t)__start_pydata % PAGE;
}

/* --- memory: from `heap` until the image is written, then from `fresh`, and from libc what is large. Objects' as well:
 * obmalloc.c, which is not used at all, begins with larger tables than a short command ever needs. */

struct block {
    struct block *next;
};
enum { COLD, WARM, HOT, AREAS };
#define FRESH (16 << 20)
#define LARGE (128 << 10) /* so a read of 64 KiB is not */

static IN_IMAGE char heap[HEAP] __attribute__((aligned(PAGE))) = {1};
/* The size of the block at a unit of the heap, as a class */
static IN_IMAGE unsigned char classes[HEAP / UNIT] = {0};
static IN_IMAGE int written = 0;
static struct area {
    char *top, *end;
    struct block *unused[CLASSES];
} areas[AREAS] = {
    [HOT] = {heap, heap + (1 << 20), {0}},
    [WARM] = {heap + (1 << 20), heap + (3 << 20), {0}},
    [COLD] = {heap + (3 << 20), heap + HEAP, {0}},
};
/* A byte for each of the allocations, in their order; none is hot in the first build, which makes `owners` for this. */
static unsigned char *heat;
static unsigned allocations, heats, owners[HEAP / UNIT];

static char fresh[FRESH] __attribute__((aligned(PAGE)));
static unsigned char fresh_classes[FRESH / UNIT];
static struct area fresh_area = {fresh, fresh + FRESH, {0}};

static int in_heap(const void *at) {
    return (const char *)at >= heap && (const char *)at < heap + HEAP;
}

static int in_fresh(const void *at) {
    return (const char *)at >= fresh && (const char *)at < fresh + FRESH;
}

static size_t unit_of(const void *at) {
    return ((const char *)at - heap) / UNIT;
}

static unsigned char *class_at(const void *at) {
    return in_fresh(at) ? fresh_classes + ((const char *)at - fresh) / UNIT : classes + unit_of(at);
}

static int class_of(size_t size) {
    int class = (size + UNIT - 1) / UNIT;
    if (class > SMALL)
        for (class = SMALL + 1; (size_t)SMALL * UNIT << (class - SMALL) < size;) class++;
    return class ? class : 1;
}

static size_t room_of(int class) {
    return class <= SMALL ? (size_t)class * UNIT : (size_t)SMALL * UNIT << (class - SMALL);
}

static void *take(struct area *area, size_t size, size_t align) {
    char *at = (char *)(((size_t)area->top + align - 1) & ~(align - 1));
    if (at > area->end || size > (size_t)(area->end - at))
        return area == areas || area == &fresh_area ? 0 : take(area - 1, size, align);
    area->top = at + size;
    return at;
}

static struct area *area_of(const void *at) {
    int found = HOT;
    if (in_fresh(at)) return &fresh_area;
    while ((const char *)at >= areas[found].end) found--;
    return areas + found;
}

static void *block_of(struct area *area, int class) {
    struct block *found = area->unused[class];
    if (found)
        area->unused[class] = found->next;
    else if (!(found = take(area, room_of(class), UNIT)))
        return 0;
    *class_at(found) = class;
    return found;
}

void *image_malloc(size_t size) {
    if (written) {
        void *found = size > LARGE ? 0 : block_of(&fresh_area, class_of(size));
        return found ? found : malloc(size); /* which is not 0 for no bytes either */
    }
    int class = class_of(size);
    void *found = block_of(areas + (allocations < heats ? heat[allocations] : COLD), class);
    if (!found) return 0;
    allocations++;
    for (size_t unit = 0; unit < room_of(class) / UNIT; unit++) owners[unit_of(found) + unit] = allocations;
    return found;
}

void *image_calloc(size_t count, size_t size) {
    size_t whole;
    if (__builtin_mul_overflow(count, size, &whole)) return 0;
    void *found = image_malloc(whole);
    return found ? memset(found, 0, whole) : 0;
}

/* What is of the image is not used again after a start: nothing would be gained by a write to it. */
void image_free(void *at) {
    if (!in_heap(at) && !in_fresh(at)) {
        free(at);
    } else if (!written || in_fresh(at)) {
        struct block **unused = area_of(at)->unused + *class_at(at);
        if (!written) memset(at, 0, room_of(*class_at(at))); /* nothing of the training stays in the file */
        ((struct block *)at)->next = *unused;
        *unused = at;
    }
}

void *image_realloc(void *at, size_t size) {
    if (!at) return image_malloc(size);
    if (!size) size = 1; /* Python's never frees (Objects/obmalloc.c), and libc's does */
    if (!in_heap(at) && !in_fresh(at)) return realloc(at, size);
    size_t room = room_of(*class_at(at));
    if (size <= room) return at;
    void *found = image_malloc(size);
    if (!found) return 0;
    memcpy(found, at, room);
    image_free(at);
    return found;
}

/* For the stack of Python's frames */
void *image_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (written) return mmap(at, size, protection, flags, fd, offset);
    void *found = take(areas + HOT, size, PAGE);
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
 * where a start says at its end what it has written to: a byte a page, or if `by_unit`, a byte a unit of the heap. */
static IN_IMAGE struct {
    char mark[16];
    int report, by_unit;
    struct {
        unsigned first, count;
    } ranges[WORDS][RANGES];
} pages = {"pyrun: pages", -1, 0, {{{0, 0}}}};

#if PY_VERSION_HEX >= 0x030c0000
/* In place of what build.py leaves out */
PyObject *PyInit__sha2(void) {
    PyErr_SetString(PyExc_ImportError, "_sha2 is not in the start-up image");
    return 0;
}
#endif

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
#if PY_VERSION_HEX < 0x030c0000
    Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;
#else
    Py_tss_t *key = &_PyRuntime.autoTSSkey;
    _Py_tss_tstate = thread;
#endif
    key->_is_initialized = 0;
    if (PyThread_tss_create(key) || PyThread_tss_set(key, thread)) return -1;
    _PyRuntime.main_thread = thread->thread_id = PyThread_get_thread_ident();
    thread->native_thread_id = PyThread_get_thread_native_id();
    return 0;
}

/* --- what a start writes to, unit by unit: each store into the heap faults, is noted, and done as a single step */

#ifdef __x86_64__
#define OPEN 8
#define TRAP_FLAG 0x100
/* After so many stores to a page by which nothing new was learnt, it stays open. */
#define ENOUGH 100

static char touched[HEAP / UNIT], *opened[OPEN];
static unsigned short stale[(HEAP + (16 << 20)) / PAGE];

static size_t page_of(const char *at) {
    return (at - first_page()) / PAGE;
}

static void on_store(int signal_, siginfo_t *info, void *context) {
    char *at = info->si_addr;
    int i = 0;
    while (i < OPEN && opened[i]) i++;
    if (i == OPEN || at < first_page() || at >= __stop_pydata) {
        signal(signal_, SIG_DFL);
        return;
    }
    stale[page_of(at)]++;
    if (in_heap(at) && !touched[unit_of(at)]) touched[unit_of(at)] = 1, stale[page_of(at)] = 0;
    opened[i] = at - (size_t)at % PAGE;
    mprotect(opened[i], PAGE, PROT_READ | PROT_WRITE);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int signal_, siginfo_t *info, void *context) {
    (void)signal_, (void)info;
    for (int i = 0; i < OPEN && opened[i]; i++) {
        if (stale[page_of(opened[i])] < ENOUGH) mprotect(opened[i], PAGE, PROT_READ);
        opened[i] = 0;
    }
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(long long)TRAP_FLAG;
}

static void watch_stores(void) {
    struct sigaction store = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO}, step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGSEGV, &store, 0) || sigaction(SIGTRAP, &step, 0) ||
        mprotect(first_page() + PAGE, (__stop_pydata - first_page()) / PAGE * PAGE - PAGE, PROT_READ))
        die("watch"); /* what is ours may share the first page, and the last */
}
#endif

/* `run` handles every signal, to pass it on; while stores are watched, these two are not its. */
int image_sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    if (pages.by_unit && (number == SIGSEGV || number == SIGTRAP)) action = 0;
    return sigaction(number, action, before);
}

static void say(const char *from, size_t size) {
    while (size) {
        ssize_t done = write(pages.report, from, size);
        if (done < 0) die("report");
        from += done, size -= done;
    }
}

/* Says, of each page of pydata, a byte: whether it has been written to, and so is not the file's any more
 * (Documentation/admin-guide/mm/pagemap.rst). In place of posix._exit. */
void image_exit(int code) {
    if (pages.report < 0) _exit(code);
#ifdef __x86_64__
    if (pages.by_unit) {
        say(touched, sizeof touched);
        _exit(code);
    }
#endif
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (char *page = first_page(); page < __stop_pydata; page += PAGE) {
        unsigned long bits;
        if (pread(map, &bits, sizeof bits, (size_t)page / PAGE * sizeof bits) != sizeof bits) die("pagemap");
        char own = bits >> 63 & 1 && !(bits >> 61 & 1);
        say(&own, 1);
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
#ifdef __x86_64__
    if (pages.by_unit) watch_stores();
#endif
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

static void *for_malloc(void *context, size_t size) {
    (void)context;
    return image_malloc(size);
}

static void *for_calloc(void *context, size_t count, size_t size) {
    (void)context;
    return image_calloc(count, size);
}

static void *for_realloc(void *context, void *at, size_t size) {
    (void)context;
    return image_realloc(at, size);
}

static void for_free(void *context, void *at) {
    (void)context;
    image_free(at);
}

static void set_allocators(void) {
    PyMemAllocatorEx ours = {0, for_malloc, for_calloc, for_realloc, for_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &ours);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &ours);
}

static void read_heat(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat)) die(path);
    heats = stat.st_size;
    heat = malloc(heats);
    if (!heat || read(fd, heat, heats) != heats) die(path);
    close(fd);
}

static void write_owners(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write_whole(fd, (char *)owners, sizeof owners, 0)) die(path);
}

static int build(int argc, char **argv) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyConfig config;
    /* What the build's caller ignores (nohup) would be taken for what a start's caller does. */
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    read_heat(argv[5]);
    set_allocators();
    if (PyImport_AppendInittab("_pyrun_pack", PyInit__pyrun_pack) ||
        PyImport_AppendInittab("_pyrun_json", PyInit__pyrun_json))
        return 1;
    PyConfig_InitIsolatedConfig(&config);
    config.use_hash_seed = 1;
    config.hash_seed = strtoul(argv[4], 0, 10);
    config.site_import = 0;
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    config.parse_argv = 0;
    if (PyStatus_Exception(Py_PreInitialize(&before)) ||
        PyStatus_Exception(PyConfig_SetBytesString(&config, &config.program_name, PYTHON)) ||
        PyStatus_Exception(PyConfig_SetBytesArgv(&config, argc - 6, argv + 6)) ||
        PyStatus_Exception(Py_InitializeFromConfig(&config)))
        return 1;
    FILE *script = fopen(argv[2], "r");
    if (!script) die(argv[2]);
    if (PyRun_SimpleFileExFlags(script, argv[2], 1, 0)) return 1;
    take_results(checked(PyImport_AddModule("__main__")));
    thread = PyThreadState_Get();
    write_image(argv[3]);
    char beside[PAGE];
    snprintf(beside, sizeof beside, "%s.owners", argv[3]);
    write_owners(beside);
    _exit(0);
}

int main(int argc, char **argv) {
    if (written) return resume(argc, argv);
    if (argc > 5 && !strcmp(argv[1], "build")) return build(argc, argv);
    dprintf(2, "usage: engine build SCRIPT OUT SEED HEAT ARGS...\n");
    return 2;
}
