/* pack() of runtime/machine/program.py, which takes a tenth of all of create's own time in Python: a module of the start-up
 * image's, built as Python's own are (build.py).
 *
 *     set_up(Register, SYSCALL, CALL, NONE, REGISTER, DATA)    as they are in program.py
 *     pack(instructions, numbers, constant)                    as there */
#include <Python.h>

/* Its _INSTRUCTION, "<BBBBHH6HI6Q" */
struct instruction {
    unsigned char op, destination, log, retries;
    unsigned short kinds, name, rules[6];
    unsigned flags;
    unsigned long long values[6];
} __attribute__((packed));

/* Attributes, interned: Python's cache of them goes by the name's address. */
enum { OP, NAME, OPERANDS, DESTINATION, LOG, RULES, RETRIES, INDEX, OFFSET, NAMES };
static const char *const spelled[NAMES] = {"op",    "name",    "operands", "destination", "log",
                                           "rules", "retries", "index",    "offset"};
static PyObject *names[NAMES] = {0};
/* As there: set_up's arguments */
static PyObject *register_type = 0;
static int syscall_op = 0, call_op = 0, none = 0, of_register = 0, of_data = 0;

/* An attribute that is an int; -1 with an exception */
static long long number(PyObject *from, int name) {
    PyObject *found = PyObject_GetAttr(from, names[name]);
    long long value = found ? PyLong_AsLongLong(found) : -1;
    Py_XDECREF(found);
    return value;
}

static long long number_or_none(PyObject *from, int name) {
    PyObject *found = PyObject_GetAttr(from, names[name]);
    long long value = !found ? -1 : found == Py_None ? none : number(found, INDEX);
    Py_XDECREF(found);
    return value;
}

/* Where the constant is put, `bytes` being let go of */
static long long constant_at(PyObject *constant, PyObject *bytes) {
    PyObject *at = bytes ? PyObject_CallOneArg(constant, bytes) : 0;
    long long value = at ? PyLong_AsLongLong(at) : -1;
    Py_XDECREF(bytes);
    Py_XDECREF(at);
    return value;
}

static int pack_operand(struct instruction *to, int i, PyObject *operand, PyObject *constant) {
    int kind = 0;
    if (PyLong_Check(operand)) {
        to->values[i] = PyLong_AsUnsignedLongLongMask(operand);
    } else if ((PyObject *)Py_TYPE(operand) == register_type) {
        to->values[i] = number(operand, INDEX);
        kind = of_register;
    } else {
        PyObject *bytes = 0;
        kind = of_data;
        if (PyUnicode_Check(operand)) {
            bytes = PyUnicode_AsEncodedString(operand, "utf-8", "surrogateescape");
            PyBytes_ConcatAndDel(&bytes, PyBytes_FromStringAndSize("", 1));
            to->values[i] = constant_at(constant, bytes);
        } else if (PyBytes_Check(operand)) {
            to->values[i] = constant_at(constant, Py_NewRef(operand));
        } else {
            to->values[i] = number(operand, OFFSET);
        }
    }
    to->kinds |= kind << 2 * i;
    return PyErr_Occurred() ? -1 : 0;
}

static int pack_one(struct instruction *to, PyObject *from, PyObject *numbers, PyObject *constant) {
    PyObject *operands = PyObject_GetAttr(from, names[OPERANDS]), *rules = PyObject_GetAttr(from, names[RULES]);
    PyObject *name = PyObject_GetAttr(from, names[NAME]), *error, *label;
    to->op = number(from, OP);
    to->destination = number_or_none(from, DESTINATION);
    to->log = number_or_none(from, LOG);
    to->retries = number(from, RETRIES);
    if (name && PyUnicode_Check(name) && to->op == syscall_op) {
        PyObject *found = PyDict_GetItemWithError(numbers, name);
        if (found)
            to->name = PyLong_AsLong(found);
        else if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, name);
    } else if (name && to->op < call_op) {
        to->name = PyLong_AsLong(name);
    }
    for (Py_ssize_t i = 0; operands && !PyErr_Occurred() && i < PyTuple_Size(operands); i++)
        if (i == 6 || pack_operand(to, i, PyTuple_GetItem(operands, i), constant)) {
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_IndexError, "more operands than six");
            break;
        }
    Py_ssize_t at = 0;
    for (int i = 0; rules && rules != Py_None && !PyErr_Occurred() && PyDict_Next(rules, &at, &error, &label); i += 2) {
        if (i == 6) {
            PyErr_SetString(PyExc_IndexError, "more rules than three");
            break;
        }
        to->rules[i] = PyLong_AsLong(error);
        to->rules[i + 1] = number(label, INDEX);
    }
    Py_XDECREF(operands);
    Py_XDECREF(rules);
    Py_XDECREF(name);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *pack(PyObject *module, PyObject *arguments) {
    PyObject *instructions, *numbers, *constant;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!O", &PyList_Type, &instructions, &PyDict_Type, &numbers, &constant)) return 0;
    Py_ssize_t count = PyList_GET_SIZE(instructions);
    PyObject *packed = PyBytes_FromStringAndSize(0, count * sizeof(struct instruction));
    if (!packed) return 0;
    struct instruction *to = (void *)PyBytes_AS_STRING(packed);
    memset(to, 0, count * sizeof *to);
    for (Py_ssize_t i = 0; i < count; i++)
        if (pack_one(to + i, PyList_GET_ITEM(instructions, i), numbers, constant)) {
            Py_DECREF(packed);
            return 0;
        }
    return packed;
}

static PyObject *set_up(PyObject *module, PyObject *arguments) {
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Oiiiii", &register_type, &syscall_op, &call_op, &none, &of_register, &of_data))
        return 0;
    Py_INCREF(register_type);
    for (int i = 0; i < NAMES; i++)
        if (!(names[i] = PyUnicode_InternFromString(spelled[i]))) return 0;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {{"set_up", set_up, METH_VARARGS, 0}, {"pack", pack, METH_VARARGS, 0}, {0, 0, 0, 0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_pyrun_pack", 0, -1, functions, 0, 0, 0, 0};

PyObject *PyInit__pyrun_pack(void) {
    return PyModule_Create(&definition);
}
