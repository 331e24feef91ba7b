/* JSON for the start-up image, built as Python's own modules are (build.py). Python's _json is a shared object, and to load
 * it, and to bind what it calls, takes a start more than a tenth of a millisecond. This does what is usual: ASCII without
 * \u, integers of 64 bits, objects that have no name twice. Anything else, and every fault, is for _json: then the
 * answer is None, and train.py asks there.
 *
 *     scan(text, start, drop_nulls)    (value, end), or None
 *     encode(value)                    text, compact, or None */
#include <Python.h>

#define DEPTH 100
#define ROOM 1000

/* --- text to value. 0 without an exception: not for us */

struct text {
    const char *at, *end;
    int drop_nulls, depth;
};

static PyObject *scan_value(struct text *from);

static int is_blank(char letter) {
    return letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r';
}

/* Passes over blanks, and over the wanted character, if that follows. */
static int next_is(struct text *from, char wanted) {
    while (from->at < from->end && is_blank(*from->at)) from->at++;
    if (from->at == from->end || *from->at != wanted) return 0;
    from->at++;
    return 1;
}

static char unescaped(char letter) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *found = letter ? strchr(letters, letter) : 0;
    return found ? meant[found - letters] : 0;
}

/* From behind its first quote */
static PyObject *scan_string(struct text *from) {
    const char *begin = from->at, *at = begin;
    size_t escapes = 0;
    for (; at < from->end && *at != '"'; at++) {
        if (*at < ' ') return 0;
        if (*at == '\\') {
            if (++at == from->end || !unescaped(*at)) return 0;
            escapes++;
        }
    }
    if (at == from->end) return 0;
    from->at = at + 1;
    PyObject *made = PyUnicode_New(at - begin - escapes, 127);
    if (!made || at == begin) return made;
    for (char *to = PyUnicode_DATA(made); begin < at; begin++)
        *to++ = *begin == '\\' ? unescaped(*++begin) : *begin;
    return made;
}

static PyObject *scan_integer(struct text *from) {
    int negative = *from->at == '-', digits = 0;
    unsigned long long value = 0;
    const char *at = from->at + negative;
    for (; at < from->end && *at >= '0' && *at <= '9'; at++)
        if ((++digits == 2 && !value) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (unsigned long long)(*at - '0'), &value))
            return 0;
    if (!digits || (negative && value > 1ULL << 63) || (at < from->end && (*at == '.' || *at == 'e' || *at == 'E'))) return 0;
    from->at = at;
    return negative ? PyLong_FromLongLong((long long)(0 - value)) : PyLong_FromUnsignedLongLong(value);
}

static PyObject *scan_word(struct text *from, const char *word, PyObject *meant) {
    size_t size = strlen(word);
    if ((size_t)(from->end - from->at) < size || memcmp(from->at, word, size)) return 0;
    from->at += size;
    return Py_NewRef(meant);
}

static PyObject *without_nulls(PyObject *from) {
    PyObject *made = PyDict_New(), *name, *value;
    Py_ssize_t at = 0;
    while (made && PyDict_Next(from, &at, &name, &value))
        if (value != Py_None && PyDict_SetItem(made, name, value)) Py_CLEAR(made);
    Py_DECREF(from);
    return made;
}

/* From behind its brace */
static PyObject *scan_object(struct text *from) {
    PyObject *made = PyDict_New();
    int nulls = 0;
    if (!made || next_is(from, '}')) return made;
    do {
        PyObject *name = next_is(from, '"') ? scan_string(from) : 0;
        PyObject *value = name && next_is(from, ':') ? scan_value(from) : 0;
        Py_ssize_t before = PyDict_GET_SIZE(made);
        int twice = !value || !PyDict_SetDefault(made, name, value) || PyDict_GET_SIZE(made) == before;
        nulls |= value == Py_None;
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (twice) goto fail;
    } while (next_is(from, ','));
    if (next_is(from, '}')) return nulls && from->drop_nulls ? without_nulls(made) : made;
fail:
    Py_DECREF(made);
    return 0;
}

/* From behind its bracket */
static PyObject *scan_array(struct text *from) {
    PyObject *made = PyList_New(0);
    if (!made || next_is(from, ']')) return made;
    do {
        PyObject *value = scan_value(from);
        int failed = !value || PyList_Append(made, value);
        Py_XDECREF(value);
        if (failed) goto fail;
    } while (next_is(from, ','));
    if (next_is(from, ']')) return made;
fail:
    Py_DECREF(made);
    return 0;
}

static PyObject *scan_value(struct text *from) {
    PyObject *found = 0;
    if (next_is(from, '"')) return scan_string(from);
    if (from->at == from->end) return 0;
    switch (*from->at) {
    case 't': return scan_word(from, "true", Py_True);
    case 'f': return scan_word(from, "false", Py_False);
    case 'n': return scan_word(from, "null", Py_None);
    case '{':
    case '[':
        if (from->depth == DEPTH) return 0;
        from->depth++;
        found = *from->at++ == '{' ? scan_object(from) : scan_array(from);
        from->depth--;
        return found;
    default: return scan_integer(from);
    }
}

static PyObject *scan(PyObject *self, PyObject *arguments) {
    PyObject *text;
    Py_ssize_t start;
    int drop_nulls;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Unp", &text, &start, &drop_nulls)) return 0;
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (!PyUnicode_IS_ASCII(text) || start < 0 || start >= length) Py_RETURN_NONE;
    const char *begin = PyUnicode_DATA(text);
    if (is_blank(begin[start])) Py_RETURN_NONE;
    struct text from = {begin + start, begin + length, drop_nulls, 0};
    PyObject *value = scan_value(&from);
    if (value) return Py_BuildValue("Nn", value, (Py_ssize_t)(from.at - begin));
    if (PyErr_Occurred()) return 0;
    Py_RETURN_NONE;
}

/* --- value to text. 0 without an exception: not for us */

struct made {
    char *text;
    size_t size, room;
};

static int put(struct made *to, const char *from, size_t size) {
    if (to->room - to->size < size) {
        size_t room = 2 * to->room + size + ROOM;
        char *text = PyMem_Realloc(to->text, room);
        if (!text) return PyErr_NoMemory(), 0;
        to->text = text, to->room = room;
    }
    memcpy(to->text + to->size, from, size);
    to->size += size;
    return 1;
}

static int put_string(struct made *to, PyObject *from) {
    static const char letters[] = "\"\\\b\f\n\r\t", written[] = "\"\\bfnrt";
    if (!PyUnicode_CheckExact(from) || !PyUnicode_IS_ASCII(from)) return 0;
    const char *at = PyUnicode_DATA(from), *end = at + PyUnicode_GET_LENGTH(from), *plain = at;
    if (!put(to, "\"", 1)) return 0;
    for (; at < end; at++) {
        if (*at >= ' ' && *at < 0x7f && *at != '"' && *at != '\\') continue;
        const char *found = *at ? strchr(letters, *at) : 0;
        if (!found || !put(to, plain, at - plain)) return 0;
        char escape[] = {'\\', written[found - letters]};
        if (!put(to, escape, sizeof escape)) return 0;
        plain = at + 1;
    }
    return put(to, plain, end - plain) && put(to, "\"", 1);
}

static int put_value(struct made *to, PyObject *from, int depth) {
    if (PyUnicode_CheckExact(from)) return put_string(to, from);
    if (from == Py_True) return put(to, "true", 4);
    if (from == Py_False) return put(to, "false", 5);
    if (from == Py_None) return put(to, "null", 4);
    if (PyLong_CheckExact(from)) {
        char digits[24];
        int overflow;
        long long value = PyLong_AsLongLongAndOverflow(from, &overflow);
        if (overflow < 0) return 0;
        if (!overflow) return put(to, digits, snprintf(digits, sizeof digits, "%lld", value));
        unsigned long long large = PyLong_AsUnsignedLongLong(from);
        if (PyErr_Occurred()) return PyErr_Clear(), 0;
        return put(to, digits, snprintf(digits, sizeof digits, "%llu", large));
    }
    if (depth == DEPTH) return 0;
    if (PyDict_CheckExact(from)) {
        PyObject *name, *value;
        Py_ssize_t at = 0;
        for (const char *before = "{"; PyDict_Next(from, &at, &name, &value); before = ",")
            if (!put(to, before, 1) || !put_string(to, name) || !put(to, ":", 1) || !put_value(to, value, depth + 1)) return 0;
        return PyDict_GET_SIZE(from) ? put(to, "}", 1) : put(to, "{}", 2);
    }
    if (PyList_CheckExact(from) || PyTuple_CheckExact(from)) {
        if (!put(to, "[", 1)) return 0;
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(from); i++)
            if ((i && !put(to, ",", 1)) || !put_value(to, PySequence_Fast_GET_ITEM(from, i), depth + 1)) return 0;
        return put(to, "]", 1);
    }
    return 0;
}

static PyObject *encode(PyObject *self, PyObject *value) {
    struct made to = {0, 0, 0};
    PyObject *text = 0;
    (void)self;
    if (put_value(&to, value, 0)) text = PyUnicode_DecodeASCII(to.text, to.size, 0);
    PyMem_Free(to.text);
    if (text || PyErr_Occurred()) return text;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {{"scan", scan, METH_VARARGS, 0}, {"encode", encode, METH_O, 0}, {0, 0, 0, 0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_pyrun_json", 0, -1, functions, 0, 0, 0, 0};

PyObject *PyInit__pyrun_json(void) {
    return PyModule_Create(&definition);
}
